"""systemd's file descriptor store: what is put there outlives this process (sd_notify(3), FDSTORE=1).

The next process finds it in LISTEN_FDS and LISTEN_FDNAMES (sd_listen_fds(3)). systemd drops a descriptor by
itself when its other side hangs up. Where there is no store, nothing happens.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterable, Mapping, MutableMapping, Sequence

FIRST_DESCRIPTOR = 3


class FdStore:
    """Keeps descriptors by name. A name is ASCII without ":"."""

    def __init__(self, address: str | None) -> None:
        # An address in the abstract name space is written with "@" for its NUL.
        self._address = "\0" + address[1:] if address and address.startswith("@") else address

    def keep(self, name: str, descriptor: int) -> None:
        """Put a descriptor into the store. One that is there already is not put there twice."""
        self._send(f"FDSTORE=1\nFDNAME={name}", [descriptor])

    def drop(self, name: str) -> None:
        """Take a descriptor out of the store."""
        self._send(f"FDSTOREREMOVE=1\nFDNAME={name}", [])

    def _send(self, message: str, descriptors: list[int]) -> None:
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.connect(self._address)
            if descriptors:
                socket.send_fds(sender, [message.encode()], descriptors)
            else:
                sender.send(message.encode())


def take_descriptors(environment: MutableMapping[str, str]) -> dict[str, int]:
    """Return the descriptors that were handed to this process, by name, and forget the variables.

    They are not inherited by programs that this one runs.
    """
    count = environment.pop("LISTEN_FDS", "0")
    names = environment.pop("LISTEN_FDNAMES", "").split(":")
    if environment.pop("LISTEN_PID", "") != str(os.getpid()) or not count.isdigit():
        return {}
    taken = {}
    for offset in range(int(count)):
        descriptor = FIRST_DESCRIPTOR + offset
        os.set_inheritable(descriptor, False)
        taken[names[offset] if offset < len(names) else f"unnamed-{offset}"] = descriptor
    return taken


def discard(handed_over: Mapping[str, int], store: FdStore) -> None:
    """Close descriptors that are of no use here, and take them out of the store.

    A connection that nobody reads would have Asterisk wait for it (docs/reliability.md).
    """
    for name, descriptor in handed_over.items():
        os.close(descriptor)
        store.drop(name)


def discard_handed_over(environment: MutableMapping[str, str]) -> None:
    """Put away all that the service manager hands over."""
    discard(take_descriptors(environment), FdStore(environment.get("NOTIFY_SOCKET")))


def complete(names: Iterable[str], parts: Sequence[str]) -> list[str]:
    """Return the keys of which every part was handed over, under the names `<key>-<part>`."""
    handed = set(names)
    keys = [name.removesuffix(f"-{parts[0]}") for name in handed if name.endswith(f"-{parts[0]}")]
    return [key for key in keys if handed.issuperset(f"{key}-{part}" for part in parts)]
