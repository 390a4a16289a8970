"""Asterisk's configuration dialect, as main/config.c reads it. No I/O: files come through a reader.

Where Asterisk writes a warning to its log and reads on, this makes a `Problem` that is a warning; where it
gives the file up, this makes a `Problem` that is none and reads on, so that everything wrong is said at once.
Names of sections and options are kept as they are written and compared without regard to case (strcasecmp).
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from amikafka_tail.ami.regex import Regex
from amikafka_tail.model.errors import Problem

MAX_LINE = 8190
"""Longest line that Asterisk reads, in bytes; a longer one it skips."""
MAX_DEPTH = 10
"""How deep #include may nest (MAX_INCLUDE_LEVEL)."""
EXEC = "#exec"
# ast_strip takes every control character for a blank.
_BLANKS = "".join(map(chr, range(33)))
_LOWER = {ord(char): char.lower() for char in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
_INCLUDE_TEMPLATES, _ONLY_TEMPLATES = "include", "restrict"


def fold(name: str) -> str:
    """Return a name as it compares: strcasecmp knows the letters of ASCII only."""
    return name.translate(_LOWER)


class Line(NamedTuple):
    """One `name = value`, and where it stands."""

    name: str
    value: str
    file: Path
    line: int
    comment: str = ""
    """What stands behind the `;` of the same line."""
    has_close_comment: bool = False
    """Whether no blank stands before that `;`."""
    is_override: bool = False
    """Whether it is inherited from a template, or stands in a `[name](+)`: a repeated name is then meant."""

    def is_named(self, name: str) -> bool:
        """Tell whether this is the option of a name."""
        return fold(self.name) == fold(name)


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
        return next((line.value for line in reversed(self.lines) if line.is_named(name)), None)

    def is_named(self, name: str) -> bool:
        """Tell whether this is the section of a name."""
        return fold(self.name) == fold(name)


class Document(NamedTuple):
    """What a file and all that it includes amount to, and what is wrong with it."""

    sections: list[Section]
    problems: list[Problem]
    files: Sequence[Path] = ()
    """Which files were read, or could not be."""
    is_taken_up: bool = True
    """Whether Asterisk takes the file up. An error in an #include costs the rest of that file alone."""

    def named(self, name: str) -> list[Section]:
        """Return the sections of one name; there may be several."""
        return [section for section in self.sections if section.is_named(name)]

    def first(self, name: str) -> list[Line]:
        """Return the lines of the first section of a name: of several, most of Asterisk knows the first only
        (ast_variable_browse)."""
        return next((section.lines for section in self.named(name)), [])

    @property
    def errors(self) -> list[Problem]:
        """For which Asterisk does not take the file up, or the rest of an included one.

        A pattern that no file matches is such an error for Asterisk, but among the `warnings` here.
        """
        return [problem for problem in self.problems if not problem.is_warning]

    @property
    def warnings(self) -> list[Problem]:
        """At which Asterisk skips a line, or a rest of one, and reads on."""
        return [problem for problem in self.problems if problem.is_warning]


Reader = Callable[[Path], str]
"""Returns a file's text. Raises `OSError`."""
Finder = Callable[[str], Iterable[Path]]
"""Returns the files, sorted, that an #include names; a relative name is the configuration directory's."""


def parse(path: Path, read: Reader, find: Finder) -> Document:
    """Parse a file. Templates take part but are not in the result. Raises `OSError` for the file itself."""
    parser = _Parser(read, find)
    parser.parse_files([(path, read(path))])
    sections = [section for section in parser.sections if not section.template]
    files = list(dict.fromkeys(parser.files))
    return Document(sections, parser.problems, files, is_taken_up=not parser.has_failed)


class _Parser:
    def __init__(self, read: Reader, find: Finder) -> None:
        self.sections: list[Section] = []
        self.problems: list[Problem] = []
        self.files: list[Path] = []
        self._read = read
        self._find = find
        self._section: Section | None = None
        """Whose lines are read. Behind an #include it is again the one before it."""
        self._latest: Section | None = None
        """Where an included file begins: the last section begun, wherever that was (config->current)."""
        self._in_addition = False
        self._including: list[Path] = []
        self.has_failed = False
        """Whether Asterisk has given up the files of the #include, or the main file, that are being read."""
        self._sections_before_failure: list[Section] = []

    def parse_files(self, files: Iterable[tuple[Path, str]]) -> None:
        """Read the files that one #include names. A comment may begin in one and end in the next.

        What stands behind an error is read for what else is wrong.
        """
        depth = 0
        for path, text in files:
            self._including.append(path)
            self.files.append(path)
            for number, whole in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
                line = whole.partition("\0")[0]
                if len(line.encode("utf-8", "surrogateescape")) > MAX_LINE:
                    self._warn(path, number, f"line too long (over {MAX_LINE} bytes): Asterisk skips it")
                    continue
                before = depth
                content, depth = strip_comments(line, depth)
                if depth < 0 <= before:
                    self._warn(
                        path, number, '"--;" closes no comment: Asterisk skips what is below this line'
                    )
                content = content.strip(_BLANKS)
                if content.startswith("["):
                    self._header(path, number, content)
                elif content.startswith("#"):
                    self._directive(path, number, content)
                elif content:
                    self._line(path, number, content, line)
            if depth > 0:
                self._warn(path, None, 'a comment that began with ";--" is not closed with "--;"')
            self._including.pop()

    def _error(self, path: Path, number: int | None, message: str, *, is_warning: bool = False) -> None:
        """Note what makes Asterisk give the file up; `is_warning` says that amikafka works all the same."""
        if not self.has_failed:
            self.has_failed = True
            self._sections_before_failure = copy.deepcopy(self.sections)
        self._note(path, number, message, is_warning=is_warning)

    def _warn(self, path: Path, number: int | None, message: str) -> None:
        self._note(path, number, message, is_warning=True)

    def _note(self, path: Path, number: int | None, message: str, *, is_warning: bool) -> None:
        section = self._section.name if self._section else None
        self.problems.append(
            Problem(message=message, file=path, line=number, section=section, is_warning=is_warning)
        )

    def _header(self, path: Path, number: int, content: str) -> None:
        name, closing, rest = content[1:].partition("]")
        self._section = section = Section(name, path, number)
        self._in_addition = False
        if not closing:
            self._error(path, number, 'no closing "]"')
            return
        options, closing, _ = rest[1:].partition(")")
        if rest.startswith("(") and not closing:
            self._error(path, number, 'no closing ")"')
        elif rest.startswith("("):
            for option in options.split(","):
                if option == "!":
                    self._section.template = True
                elif option.startswith("+"):
                    self._add_to_existing(section, option[1:])
                else:
                    self._inherit(option, path, number)
        if self._section is section:
            self.sections.append(section)
        self._latest = self._section

    def _add_to_existing(self, section: Section, wanted: str) -> None:
        existing = next((each for each in self.sections if _matches(each, section.name, wanted)), None)
        if existing is None:
            self._error(section.file, section.line, f"there is no section [{section.name}] to add to")
            return
        existing.lines += [line._replace(is_override=True) for line in section.lines]
        existing.template |= section.template
        self._section = existing
        self._in_addition = True

    def _inherit(self, name: str, path: Path, number: int) -> None:
        assert self._section is not None
        # No name at all matches the first section that there is.
        base = next((each for each in self.sections if not name or each.is_named(name)), None)
        if base is None:
            self._error(path, number, f"there is no section [{name}] to inherit from")
        else:
            self._section.lines += [line._replace(is_override=True) for line in base.lines]

    def _directive(self, path: Path, number: int, content: str) -> None:
        word, _, argument = re.sub(r"[\x00-\x20]", " ", content[1:]).partition(" ")
        argument = argument.strip(_BLANKS)
        directive = fold(word)
        if directive == "exec":
            self._warn(path, number, f"{EXEC} is not supported: put the text there, or #include a file")
        elif directive not in ("include", "tryinclude"):
            self._warn(path, number, f"unknown directive #{word}; there are #include and #tryinclude")
        elif not argument:
            self._warn(path, number, f"#{word} needs the name of a file")
        else:
            self._include(path, number, _unquote(argument), needed=directive == "include")

    def _include(self, path: Path, number: int, pattern: str, *, needed: bool) -> None:
        complain = self._error if needed else self._warn
        if len(self._including) > MAX_DEPTH:
            complain(path, number, f'#include "{pattern}": nested more than {MAX_DEPTH} deep')
            return
        files = list(self._find(pattern))
        if not files and needed:
            is_pattern = any(char in pattern for char in "*?[")
            message = f'#include "{pattern}": there is no such file'
            self._error(path, number, message, is_warning=is_pattern)

        def readable() -> Iterator[tuple[Path, str]]:
            for file in files:
                if file in self._including:
                    complain(path, number, f'#include "{pattern}": includes itself')
                    continue
                try:
                    yield file, self._read(file)
                except OSError as error:
                    self.files.append(file)
                    if needed or not isinstance(error, FileNotFoundError):
                        complain(path, number, f'#include "{pattern}": {file}: {error.strerror}')

        outer = self._section, self._in_addition, self.has_failed, self._sections_before_failure
        self._section, self.has_failed = self._latest, False
        self.parse_files(readable())
        if self.has_failed:
            self._forget_what_follows_the_failure()
        self._section, self._in_addition, self.has_failed, self._sections_before_failure = outer

    def _forget_what_follows_the_failure(self) -> None:
        """Make the sections again what they were at the error, for what the outer file goes on with."""
        before = self._sections_before_failure
        del self.sections[len(before) :]
        for section, then in zip(self.sections, before, strict=True):
            section.lines, section.template = then.lines, then.template
        if not any(section is self._latest for section in self.sections):
            self._latest = self.sections[-1] if self.sections else None

    def _line(self, path: Path, number: int, content: str, whole: str) -> None:
        section = self._section
        if section is None:
            self._error(path, number, "stands before the first [section]")
            return
        # A backslash in front makes the first character plain.
        escaped = content.startswith("\\")
        content = content[1:] if escaped else content
        if escaped and not "!" <= content[:1] <= "\x7f":
            self._error(path, number, "the backslash in front stands before nothing that it could make plain")
            return
        equals = content.find("=", 1 if escaped else 0)
        if equals < 0:
            self._warn(path, number, 'no "=" in this line')
            return
        appends = equals > int(escaped) and content[equals - 1] == "+"
        name = content[: equals - 1 if appends else equals].strip(_BLANKS)
        value = content[equals + 1 :]
        if appends and self._append(section, name, value, path, number):
            return
        if not name:
            self._warn(path, number, 'no name before the "="')
            return
        if not appends:
            value = value.removeprefix(">")
        comment, is_close = _comment(whole)
        value = value.strip(_BLANKS)
        section.lines.append(Line(name, value, path, number, comment, is_close, self._in_addition))

    @staticmethod
    def _append(section: Section, name: str, value: str, path: Path, number: int) -> bool:
        """Add to the last value of a name, here with regard to case; return whether there was one."""
        old = next((line for line in reversed(section.lines) if line.name == name), None)
        if old is None:
            return False
        joined = (old.value + value).strip(_BLANKS)
        for index, line in enumerate(section.lines):
            # ast_variable_update replaces the first line of that name and value, without regard to case; the
            # versions after 22.10 the last one.
            if line.is_named(name) and (not old.value or fold(line.value) == fold(old.value)):
                section.lines[index] = Line(name, joined, path, number, is_override=line.is_override)
                break
        return True


def _matches(section: Section, name: str, wanted: str) -> bool:
    """Tell whether `[name](+wanted)` means a section (does_category_match): `NAME=VALUE` are regular
    expressions, joined by `&`."""
    if name and not section.is_named(name):
        return False
    if not wanted:
        return not section.template
    templates_count = False
    for condition in filter(None, (part.strip(_BLANKS) for part in wanted.split("&"))):
        key, equals, value = (part.strip(_BLANKS) for part in condition.partition("="))
        if key == "TEMPLATES" and equals:
            templates_count |= fold(value) in (_INCLUDE_TEMPLATES, _ONLY_TEMPLATES)
            holds = section.template or fold(value) != _ONLY_TEMPLATES
        else:
            holds = bool(equals) and _has_line(section, key, value)
        if not holds:
            return False
    return templates_count or not section.template


def _has_line(section: Section, name: str, value: str) -> bool:
    try:
        name_is, value_is = Regex(_bytes(name)), Regex(_bytes(value))
    except ValueError:
        return False
    return any(
        name_is.matches(_bytes(line.name)) and value_is.matches(_bytes(line.value)) for line in section.lines
    )


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _comment(line: str) -> tuple[str, bool]:
    """Return what stands behind the first `;` that begins a comment, and whether that `;` follows a value at
    once. A block comment is none.
    """
    found = re.search(r"(?<!\\)(?<!--);(?!--(?!-))(.*)", line)
    if found is None:
        return "", False
    return found[1].strip(_BLANKS), not line[: found.start()].endswith(tuple(_BLANKS))


def strip_comments(line: str, depth: int = 0) -> tuple[str, int]:
    """Return a line without its comments, and how many block comments are open behind it.

    `;` begins a comment, `\\;` is a plain semicolon, `;--` ... `--;` is a block, which may nest. A `--;` too
    many makes the depth negative, and Asterisk then skips all lines up to the next `;--`.
    """
    begin: int | None = 0 if depth == 0 else None
    end: int | None = None
    position = 0
    while (found := line.find(";", position)) >= 0:
        if found > position and line[found - 1] == "\\":
            line = line[: found - 1] + line[found:]
            position = found
        elif line[found + 1 : found + 3] == "--" and line[found + 3 : found + 4] != "-":
            end = found if end is None else end
            depth += 1
            position = found + 3
        elif found >= position + 2 and line[found - 2 : found] == "--":
            depth -= 1
            position = found + 1
            if depth == 0 and begin is None:
                begin = position
            elif depth == 0:
                line = line[:end] + line[position:]
                position, end = end or 0, None
        elif depth:
            position = found + 1
        else:
            end = found if end is None else end
            break
    return ("" if begin is None else line[begin:end]), depth


def _unquote(name: str) -> str:
    if len(name) > 1 and (name[0], name[-1]) in {('"', '"'), ("<", ">")}:
        return name[1:-1]
    return name
