"""The networks between the daemon and the others: a namespace of its own, two links that can be spoilt."""

from __future__ import annotations

import contextlib
import os
import subprocess

from machine import need_program

from tests.support.waiting import Unavailable


class Link:
    """A pair of virtual interfaces: `host` is the address out here, `guest` the daemon's."""

    def __init__(self, namespace: str, number: int) -> None:
        net = f"10.99.{os.getpid() % 60 * 4 + number}"
        self.host, self.guest = f"{net}.1", f"{net}.2"
        self._namespace = namespace
        self._outside, self._inside = f"amk{os.getpid()}.{number}", f"amk{number}"
        _ip("link", "add", self._outside, "type", "veth", "peer", "name", self._inside, "netns", namespace)
        _ip("addr", "add", f"{self.host}/30", "dev", self._outside)
        _ip("link", "set", self._outside, "up")
        _ip("-n", namespace, "addr", "add", f"{self.guest}/30", "dev", self._inside)
        _ip("-n", namespace, "link", "set", self._inside, "up")

    def cut(self) -> None:
        """Take the cable out."""
        _ip("link", "set", self._outside, "down")

    def slow_down(self) -> None:
        """Delay and lose packets in both directions (tc-netem(8)).

        Where the kernel has no netem let only so many through that some are lost (tc-tbf(8)).
        """
        netem = ("netem", "delay", "100ms", "30ms", "loss", "2%")
        narrow = ("tbf", "rate", "1500kbit", "burst", "4kb", "latency", "50ms")
        for end in self._ends():
            if _tc("qdisc", "add", *end, "root", *netem):
                assert not _tc("qdisc", "add", *end, "root", *narrow)

    def swallow(self) -> None:
        """Let packets vanish in both directions, while both sides believe that they are connected."""
        nobody = "02:00:00:00:00:01"
        _ip("neigh", "replace", self.guest, "lladdr", nobody, "nud", "permanent", "dev", self._outside)
        inside = ("neigh", "replace", self.host, "lladdr", nobody, "nud", "permanent", "dev", self._inside)
        _ip("-n", self._namespace, *inside)

    def heal(self) -> None:
        """Let everything through again."""
        _ip("link", "set", self._outside, "up")
        for end in self._ends():
            _tc("qdisc", "del", *end, "root")
        with contextlib.suppress(subprocess.CalledProcessError):
            _ip("neigh", "del", self.guest, "dev", self._outside)
            _ip("-n", self._namespace, "neigh", "del", self.host, "dev", self._inside)

    def _ends(self) -> list[tuple[str, ...]]:
        return [("dev", self._outside), ("dev", self._inside, "-n", self._namespace)]


class Network:
    """Two links into a namespace: one to Asterisk, one to Kafka."""

    def __init__(self) -> None:
        self.namespace = f"amikafka-{os.getpid()}"
        need_program("ip", "iproute2")
        need_program("tc", "iproute2")
        if os.geteuid() != 0:
            raise Unavailable("it needs root to make network namespaces")
        try:
            _ip("netns", "add", self.namespace)
            _ip("-n", self.namespace, "link", "set", "lo", "up")
            self.ami = Link(self.namespace, 1)
            self.kafka = Link(self.namespace, 2)
        except subprocess.CalledProcessError as error:
            self.remove()
            raise Unavailable(f"no network namespaces here: {error}") from error

    @property
    def prefix(self) -> tuple[str, ...]:
        """What runs a command in there."""
        return ("ip", "netns", "exec", self.namespace)

    def heal(self) -> None:
        """Let everything through again."""
        self.ami.heal()
        self.kafka.heal()

    def remove(self) -> None:
        """Take it all away."""
        with contextlib.suppress(subprocess.CalledProcessError):
            _ip("netns", "del", self.namespace)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=10)


def _tc(*arguments: str) -> int:
    """Run tc; return its exit status."""
    if "-n" in arguments:
        at = arguments.index("-n")
        arguments = (*arguments[at : at + 2], *arguments[:at], *arguments[at + 2 :])
    return subprocess.run(["tc", *arguments], capture_output=True, timeout=10, check=False).returncode
