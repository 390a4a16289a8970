"""glibc's regular expressions, which are the ones that Asterisk's `eventfilter` means.

Python's `re` is another language: `\\d`, look-ahead and `(?P<...>)` mean nothing in a POSIX expression, and
character classes and back-references differ. Asking glibc gives Asterisk's answer by construction.
"""

from __future__ import annotations

import ctypes
import functools
import re
import weakref

REG_EXTENDED = 1
REG_NOSUB = 8
ENCODING = b"C.UTF-8"
"""The locale that Asterisk sets (main/asterisk.c, main): `.` is a character of UTF-8, not a byte."""

# regex_t is 64 bytes on 64-bit glibc; the rest is room to spare.
_REGEX_T_BYTES = 256
# LC_CTYPE, LC_COLLATE and LC_MESSAGES: what an expression and its errors depend on.
_CATEGORIES = 1 << 0 | 1 << 3 | 1 << 5
# The plain characters that an expression begins with, and what repeats the last of them.
_LITERAL = re.compile(rb"\^?([^\\.\[\]()*+?{}|^$\x80-\xff]*)([*+?{]?)")

_libc = ctypes.CDLL(None)
_libc.regcomp.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]
_libc.regerror.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
_libc.regerror.restype = ctypes.c_size_t
_libc.regfree.argtypes = [ctypes.c_void_p]
_libc.regfree.restype = None
_libc.newlocale.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p]
_libc.newlocale.restype = ctypes.c_void_p
_libc.uselocale.argtypes = [ctypes.c_void_p]
_libc.uselocale.restype = ctypes.c_void_p

# Without argtypes a call costs half as much: each argument is of the right type as it is.
_regexec = _libc.regexec
_NO_GROUPS = ctypes.c_size_t(0)

Compiled = ctypes.Array[ctypes.c_char]


class Regex:
    """An extended POSIX expression, compiled as Asterisk does: REG_EXTENDED | REG_NOSUB, case counts.

    The locale of this process has no say in it: the expression is compiled and executed in the locale that
    Asterisk sets, in the calling thread alone. Texts have no NUL, as in C.

    Raises `ValueError` with glibc's own words where the expression does not compile.
    """

    def __init__(self, pattern: bytes) -> None:
        self._locale = _locale(ENCODING)
        self._compiled = self._compile(pattern, self._locale)
        # Among ASCII both locales give the same answer, and C gives it up to ten times as fast. Collating
        # symbols alone are a matter of the locale.
        same_in_c = pattern.isascii() and b"[." not in pattern and b"[=" not in pattern
        self._in_c = self._compile(pattern, _locale(b"C")) if same_in_c else None
        self.needed, self._is_literal = _literal(pattern)
        """What every text contains that matches."""

    def matches(self, text: bytes) -> bool:
        """Tell whether the text matches."""
        # `in` would format an error message first: bytes in bytes are looked for as a number.
        if text.find(self.needed) < 0:
            return False
        if self._is_literal:
            return True
        if self._in_c is not None and text.isascii():
            return not _regexec(self._in_c, text, _NO_GROUPS, None, 0)
        before = _libc.uselocale(self._locale)
        try:
            return not _regexec(self._compiled, text, _NO_GROUPS, None, 0)
        finally:
            _libc.uselocale(before)

    def _compile(self, pattern: bytes, locale: int | None) -> Compiled:
        compiled = ctypes.create_string_buffer(_REGEX_T_BYTES)
        before = _libc.uselocale(locale)
        try:
            code = _libc.regcomp(compiled, pattern, REG_EXTENDED | REG_NOSUB)
            if code:
                words = ctypes.create_string_buffer(200)
                _libc.regerror(code, compiled, words, len(words))
                raise ValueError(f"the regular expression does not compile: {words.value.decode()}")
        finally:
            _libc.uselocale(before)
        weakref.finalize(self, _libc.regfree, compiled)
        return compiled


def _literal(pattern: bytes) -> tuple[bytes, bool]:
    """Return text that every match contains, and whether to contain it is to match."""
    if b"|" in pattern:
        return b"", not pattern
    found = _LITERAL.match(pattern)
    assert found is not None
    plain, repeated = found.groups()
    return (plain[:-1], False) if repeated else (plain, plain == pattern)


@functools.cache
def _locale(name: bytes) -> int | None:
    """Return a locale. Where there is none of that name it is C, in which Asterisk then stays too."""
    found: int | None = _libc.newlocale(_CATEGORIES, name, None)
    return found or _libc.newlocale(_CATEGORIES, b"C", None)
