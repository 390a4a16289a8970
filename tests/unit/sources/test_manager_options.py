from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from amikafka_tail.sources.manager import ManagerOptions, ManagerSource

PEM = Path("/etc/asterisk/keys/x.pem")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"port": -1}, "port -1"),
        ({"port": 65536}, "port 65536"),
        ({"keepalive": 0}, "keepalive 0"),
        ({"timeout": -1}, "timeout -1"),
        ({"timeout": float("nan")}, "timeout nan"),
        ({"timeout": float("inf")}, "timeout inf"),
        ({"host": ""}, "host is empty"),
        ({"username": ""}, "username is empty"),
        ({"username": "a\r\nAction: Logoff"}, "one line each"),
        ({"secret": "a\nb"}, "one line each"),
        ({"secret": "x", "secret_file": Path("/run/secret")}, "both secret and secret_file"),
        ({"host": "unix:run/ami.sock"}, "absolute path"),
        ({"host": "unix:/run/ami.sock", "tls": True}, "does not go with a unix socket"),
        ({"tls_ca": PEM}, "need tls = yes"),
        ({"tls_certificate": PEM}, "need tls = yes"),
        ({"tls": True, "tls_key": PEM}, "tls_key needs tls_certificate"),
    ],
)
def test_options_that_make_no_sense_are_refused_in_words(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ManagerOptions(**changes)


@pytest.mark.parametrize(
    ("changes", "peer"),
    [
        ({}, "127.0.0.1:5038"),
        ({"tls": True}, "127.0.0.1:5039"),
        ({"host": "pbx", "port": 5555, "tls": True}, "pbx:5555"),
        ({"host": "::1"}, "[::1]:5038"),
        ({"host": "[::1]"}, "[::1]:5038"),
        ({"host": "unix:/run/ami.sock"}, "unix:/run/ami.sock"),
    ],
)
def test_the_other_side_is_named_for_the_log(changes: dict[str, Any], peer: str) -> None:
    assert ManagerSource(ManagerOptions(**changes)).peer == peer
