"""librdkafka's statistics (its STATISTICS.md): kept as text, parsed only on demand."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from amikafka_tail.daemon.status.snapshot import Broker, Partition


class Statistics:
    """The last statistics of the producer in use. `clock` gives monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._text = ""
        self._at = 0.0
        self.taken = 0
        """How many there were so far."""

    def take(self, text: str) -> None:
        """Keep librdkafka's latest statistics. Called from the producer's poll."""
        self._text, self._at = text, self._clock()
        self.taken += 1

    @property
    def age(self) -> float | None:
        """Their age in seconds; `None` if there are none yet."""
        return self._clock() - self._at if self._text else None

    def read(self, topic: str) -> tuple[list[Broker], list[Partition]]:
        """Return the brokers, and the partitions of a topic."""
        if not self._text:
            return [], []
        values = json.loads(self._text)
        brokers = [
            _broker(each) for each in values.get("brokers", {}).values() if each.get("nodeid", -1) >= 0
        ]
        found = values.get("topics", {}).get(topic, {}).get("partitions", {})
        partitions = [_partition(each) for each in found.values() if each["partition"] >= 0]
        return (
            sorted(brokers, key=lambda each: each.name),
            sorted(partitions, key=lambda each: each.number),
        )


def _broker(values: dict[str, Any]) -> Broker:
    rtt = values.get("rtt", {})
    measured = rtt.get("cnt", 0) > 0
    return Broker(
        number=values.get("nodeid", -1),
        name=str(values["name"]).rpartition("//")[2],
        state=str(values["state"]),
        rtt_ms=rtt["avg"] / 1000 if measured else None,
        rtt_p99_ms=rtt["p99"] / 1000 if measured else None,
        queued=values.get("outbuf_cnt", 0) + values.get("waitresp_cnt", 0),
        sent_requests=values.get("tx", 0),
        retries=values.get("txretries", 0),
        errors=values.get("txerrs", 0) + values.get("rxerrs", 0),
        timeouts=values.get("req_timeouts", 0),
    )


def _partition(values: dict[str, Any]) -> Partition:
    queued = values.get("msgq_cnt", 0) + values.get("xmit_msgq_cnt", 0)
    in_flight = values.get("msgs_inflt", 0)
    return Partition(
        number=values["partition"],
        leader=values.get("leader", -1),
        queued=queued,
        in_flight=in_flight,
        acknowledged=values.get("msgs", 0) - queued - in_flight,
    )
