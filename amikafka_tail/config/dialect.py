"""Asterisk's configuration dialect, as main/config.c reads it. No I/O: files come through a reader.

Where Asterisk writes a warning to its log and reads on, this makes a `Problem`; where it gives the file up,
this makes a `Problem` too and reads on, so that everything wrong is said at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from amikafka_tail.model.errors import Problem

MAX_LINE = 8190
"""Longest line that Asterisk reads, in bytes; a longer one it skips."""
MAX_DEPTH = 10
"""How deep #include may nest (MAX_INCLUDE_LEVEL)."""
_BLANKS = " \t\r\n\v\f"


class Line(NamedTuple):
    """One `name = value`, and where it stands."""

    name: str
    value: str
    file: Path
    line: int


@dataclass
class Section:
    """One `[name]` with its lines, those it inherits first."""

    name: str
    file: Path
    line: int
    template: bool = False
    lines: list[Line] = field(default_factory=list)

    def get(self, name: str) -> str | None:
        """Return the last value of a name, `None` where there is none."""
        for line in reversed(self.lines):
            if line.name == name:
                return line.value
        return None


class Document(NamedTuple):
    """What a file and all that it includes amount to, and what is wrong with it."""

    sections: list[Section]
    problems: list[Problem]

    def named(self, name: str) -> list[Section]:
        """Return the sections of one name; there may be several."""
        return [section for section in self.sections if section.name == name]


Reader = Callable[[Path], str]
"""Returns a file's text. Raises `OSError`."""
Finder = Callable[[str], Iterable[Path]]
"""Returns the files, sorted, that an #include names; a relative name is the configuration directory's."""


def parse(path: Path, read: Reader, find: Finder) -> Document:
    """Parse a file. Templates take part but are not in the result. Raises `OSError` for the file itself."""
    parser = _Parser(read, find)
    parser.parse_text(path, read(path))
    return Document([section for section in parser.sections if not section.template], parser.problems)


class _Parser:
    def __init__(self, read: Reader, find: Finder) -> None:
        self.sections: list[Section] = []
        self.problems: list[Problem] = []
        self._read = read
        self._find = find
        self._current: Section | None = None
        self._including: list[Path] = []

    def parse_text(self, path: Path, text: str) -> None:
        self._including.append(path)
        depth = 0
        for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
            if len(line) > MAX_LINE:
                self._problem(path, number, f"line too long (over {MAX_LINE} bytes): Asterisk skips it")
                continue
            content, depth = strip_comments(line, depth)
            content = content.strip(_BLANKS)
            if not content:
                continue
            if content.startswith("["):
                self._header(path, number, content)
            elif content.startswith("#"):
                self._directive(path, number, content)
            else:
                self._line(path, number, content)
        if depth:
            self._problem(path, None, 'a comment that began with ";--" is not closed with "--;"')
        self._including.pop()

    def _problem(self, path: Path, number: int | None, message: str) -> None:
        section = self._current.name if self._current else None
        self.problems.append(Problem(message=message, file=path, line=number, section=section))

    def _header(self, path: Path, number: int, content: str) -> None:
        name, closing, rest = content[1:].partition("]")
        self._current = section = Section(name, path, number)
        if not closing:
            self._problem(path, number, 'no closing "]"')
            return
        self.sections.append(section)
        if not rest.startswith("("):
            return
        options, closing, _ = rest[1:].partition(")")
        if not closing:
            self._problem(path, number, 'no closing ")"')
            return
        for option in options.split(","):
            if option == "!":
                self._current.template = True
            elif option.startswith("+"):
                self._append_to_existing(section, option[1:])
            else:
                self._inherit(option)

    def _append_to_existing(self, section: Section, wanted: str) -> None:
        existing = [each for each in self.sections if each.name == section.name and each is not section]
        for condition in filter(None, wanted.split("&")):
            name, _, value = condition.partition("=")
            existing = [each for each in existing if each.get(name) == value]
        if not existing:
            self._problem(section.file, section.line, f"there is no section [{section.name}] to add to")
            return
        self.sections.remove(section)
        existing[0].lines += section.lines
        existing[0].template |= section.template
        self._current = existing[0]

    def _inherit(self, name: str) -> None:
        assert self._current is not None
        section = self._current
        base = next((each for each in self.sections if each.name == name and each is not section), None)
        if base is None:
            self._problem(section.file, section.line, f"there is no section [{name}] to inherit from")
        else:
            section.lines += base.lines

    def _directive(self, path: Path, number: int, content: str) -> None:
        word, _, argument = re.sub(r"[\x00-\x20]", " ", content[1:]).partition(" ")
        argument = argument.strip(_BLANKS)
        directive = word.lower()
        if directive == "exec":
            self._problem(path, number, "#exec is not supported: put the text there, or #include a file")
        elif directive not in ("include", "tryinclude"):
            self._problem(path, number, f"unknown directive #{word}; there are #include and #tryinclude")
        elif not argument:
            self._problem(path, number, f"#{word} needs the name of a file")
        else:
            self._include(path, number, _unquote(argument), needed=directive == "include")

    def _include(self, path: Path, number: int, pattern: str, *, needed: bool) -> None:
        if len(self._including) >= MAX_DEPTH:
            self._problem(path, number, f'#include "{pattern}": nested more than {MAX_DEPTH} deep')
            return
        files = list(self._find(pattern))
        if not files and needed and not any(char in pattern for char in "*?["):
            self._problem(path, number, f'#include "{pattern}": there is no such file')
        for file in files:
            if file in self._including:
                self._problem(path, number, f'#include "{pattern}": includes itself')
                continue
            try:
                text = self._read(file)
            except OSError as error:
                if needed or not isinstance(error, FileNotFoundError):
                    self._problem(path, number, f'#include "{pattern}": {file}: {error.strerror}')
                continue
            self.parse_text(file, text)

    def _line(self, path: Path, number: int, content: str) -> None:
        section = self._current
        if section is None:
            self._problem(path, number, "stands before the first [section]")
            return
        # A backslash in front makes the first character plain.
        escaped = content.startswith("\\")
        content = content[1:] if escaped else content
        equals = content.find("=", 1 if escaped else 0)
        if equals < 0:
            self._problem(path, number, 'no "=" in this line')
            return
        appends = equals > int(escaped) and content[equals - 1] == "+"
        name = content[: equals - 1 if appends else equals].strip(_BLANKS)
        value = content[equals + 1 :]
        if not name:
            self._problem(path, number, 'no name before the "="')
            return
        if appends:
            for index in range(len(section.lines) - 1, -1, -1):
                if section.lines[index].name == name:
                    whole = (section.lines[index].value + value).strip(_BLANKS)
                    section.lines[index] = Line(name, whole, path, number)
                    return
        else:
            value = value.removeprefix(">")
        section.lines.append(Line(name, value.strip(_BLANKS), path, number))


def strip_comments(line: str, depth: int = 0) -> tuple[str, int]:
    """Return a line without its comments, and how many block comments are open behind it.

    `;` begins a comment, `\\;` is a plain semicolon, `;--` ... `--;` is a block, which may nest.
    """
    kept = ""
    start = 0  # of what is neither kept nor commented out yet
    position = 0
    while (found := line.find(";", position)) >= 0:
        if found > start and line[found - 1] == "\\":
            line = line[: found - 1] + line[found:]
            position = found
        elif line[found + 1 : found + 3] == "--" and line[found + 3 : found + 4] != "-":
            if depth == 0:
                kept += line[start:found]
            depth += 1
            start = position = found + 3
        elif depth and found >= start + 2 and line[found - 2 : found] == "--":
            depth -= 1
            start = position = found + 1
        elif depth:
            position = found + 1
        else:
            return kept + line[start:found], 0
    return (kept if depth else kept + line[start:]), depth


def _unquote(name: str) -> str:
    if len(name) > 1 and (name[0], name[-1]) in {('"', '"'), ("<", ">")}:
        return name[1:-1]
    return name
