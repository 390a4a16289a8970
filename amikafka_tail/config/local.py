"""What this machine says about itself and its Asterisk."""

from __future__ import annotations

import dataclasses
import fcntl
import socket
import struct
from pathlib import Path

from amikafka_tail.config import files
from amikafka_tail.config.identity import LocalFacts, of_asterisk_conf

_SIOCGIFCONF = 0x8912
_SIOCGIFHWADDR = 0x8927
_IFREQ_BYTES = 40


def facts(etc: Path) -> LocalFacts:
    """Return what asterisk.conf in `etc`, the network interfaces and the host name say. Never raises."""
    of_file = of_asterisk_conf(files.load(etc / "asterisk.conf"), socket.gethostname())
    return dataclasses.replace(of_file, mac_address=mac_address())


def mac_address() -> str:
    """Return the MAC address that Asterisk takes for its entity id, empty where there is none.

    It is that of the first interface which SIOCGIFCONF lists and whose address is neither all zeros nor all
    ones (ast_set_default_eid of main/utils.c).
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        buffer = bytearray(64 * _IFREQ_BYTES)
        import ctypes  # noqa: PLC0415

        address = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
        try:
            answer = fcntl.ioctl(probe, _SIOCGIFCONF, struct.pack("iL", len(buffer), address))
        except OSError:
            return ""
        length = struct.unpack("iL", answer)[0]
        for offset in range(0, length, _IFREQ_BYTES):
            name = bytes(buffer[offset : offset + 16])
            try:
                found = fcntl.ioctl(probe, _SIOCGIFHWADDR, name + bytes(24))[18:24]
            except OSError:
                continue
            if found not in (bytes(6), b"\xff" * 6):
                return ":".join(f"{byte:02x}" for byte in found)
    return ""
