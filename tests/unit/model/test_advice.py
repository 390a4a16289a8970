"""Advice that can be typed as it stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from amikafka_tail.model.advice import CONFIGURATION, for_configuration
from amikafka_tail.model.errors import ClusterError

ADVICE = "amikafka topic create; or systemctl start amikafka, journalctl -u amikafka -n 50"
WEST = "/etc/asterisk/ami_kafka-west.conf"


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        (str(CONFIGURATION), ADVICE, ADVICE),
        (
            WEST,
            ADVICE,
            f"amikafka topic create -c {WEST}; or systemctl start amikafka@west,"
            " journalctl -u amikafka@west -n 50",
        ),
        ("/tmp/x.conf", "systemctl restart amikafka", "systemctl restart amikafka"),
        ("/tmp/x.conf", "see amikafka doctor", "see amikafka doctor -c /tmp/x.conf"),
        (
            "/tmp/x.conf",
            "amikafka replay --from dead-letter sends them",
            "amikafka replay -c /tmp/x.conf --from dead-letter sends them",
        ),
        ("/tmp/a b.conf", "amikafka kafka status", "amikafka kafka status -c '/tmp/a b.conf'"),
        ("/tmp/x.conf", "amikafka topic create -c y.conf", "amikafka topic create -c y.conf"),
        ("/tmp/x.conf", "amikafka plugins shows what is loaded", "amikafka plugins shows what is loaded"),
        ("/tmp/x.conf", "the log of amikafka", "the log of amikafka"),
    ],
)
def test_commands_are_for_the_configuration_in_use(file: str, text: str, expected: str) -> None:
    assert for_configuration(text, Path(file)) == expected


def test_an_error_of_kafka_says_what_to_type() -> None:
    error = ClusterError("no topic", hint="amikafka topic create").explained(Path(WEST))
    assert str(error) == f"no topic\n-> amikafka topic create -c {WEST}"
    assert str(ClusterError("no topic").explained(Path(WEST))) == "no topic"
