"""A short campaign of a fixed seed: every fault once, and those that matter most with exactly_once."""

from __future__ import annotations

import io
from argparse import Namespace
from pathlib import Path

import pytest
from campaign import run
from chroot import asterisk_root
from conftest import or_skip
from kafka import kafka_jars
from network import Network

ONCE = (
    "daemon-killed-often,daemon-frozen,leader-killed,brokers-killed,broker-hangs,kafka-half-open,"
    "messages-too-large,checkpoint-spoilt,disk-full"
)
pytestmark = pytest.mark.timeout(600)


def campaign(directory: Path, *, exactly_once: bool, only: str = "") -> str:
    """Run it; return what it printed. Skips where the machine cannot have it."""
    or_skip(kafka_jars)
    or_skip(asterisk_root)
    or_skip(_see_that_networks_can_be_made)
    out = io.StringIO()
    options = Namespace(
        seed=1,
        minutes=0,
        nodes=3,
        rate=500.0,
        every=0,
        exactly_once=exactly_once,
        only=only,
        in_order=False,
    )
    kept = run(options, directory, out)
    assert kept, out.getvalue()
    return out.getvalue()


def _see_that_networks_can_be_made() -> None:
    Network().remove()


def test_every_fault_once_loses_nothing_that_was_recorded(tmp_path: Path):
    print(campaign(tmp_path, exactly_once=False))


def test_with_exactly_once_nothing_comes_twice(tmp_path: Path):
    print(campaign(tmp_path, exactly_once=True, only=ONCE))
