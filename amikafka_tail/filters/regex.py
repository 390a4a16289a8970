"""glibc's regular expressions, which are the ones that Asterisk's `eventfilter` means.

Python's `re` is another language: `\\d`, look-ahead and `(?P<...>)` mean nothing in a POSIX expression, and
character classes and back-references differ. Asking glibc gives Asterisk's answer by construction.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

_EXTENDED = 1
_NOSUB = 8
# regex_t is 64 bytes on 64-bit glibc; the rest is room to spare.
_REGEX_T_BYTES = 256

_libc = ctypes.CDLL(None)
_libc.regcomp.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]
_libc.regexec.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_int]
_libc.regerror.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
_libc.regfree.argtypes = [ctypes.c_void_p]


class Regex:
    """An extended POSIX expression, compiled as Asterisk does: REG_EXTENDED | REG_NOSUB, case counts.

    Raises `ValueError` with glibc's own words where it does not compile.
    """

    def __init__(self, pattern: bytes) -> None:
        self._compiled: ctypes.Array[ctypes.c_char] | None = None
        compiled = ctypes.create_string_buffer(_REGEX_T_BYTES)
        code = _libc.regcomp(compiled, pattern, _EXTENDED | _NOSUB)
        if code:
            message = ctypes.create_string_buffer(200)
            _libc.regerror(code, compiled, message, len(message))
            raise ValueError(f"the regular expression does not compile: {message.value.decode()}")
        self._compiled = compiled
        self._free = _libc.regfree

    def __del__(self) -> None:
        if self._compiled is not None:
            self._free(self._compiled)

    def matcher(self) -> Callable[[bytes], bool]:
        """Return a function that tells whether a text matches, up to its first NUL as in C."""
        compiled, execute = self._compiled, _libc.regexec

        def matches(text: bytes, _keep: Regex = self) -> bool:
            return not execute(compiled, text, 0, None, 0)

        return matches
