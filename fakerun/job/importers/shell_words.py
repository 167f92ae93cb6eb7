"""A shell script as commands of words (POSIX sh and bash): quotes, expansions, arrays, comments, redirections. Nothing is expanded yet.

It reads what launch scripts are made of; a loop, a condition or a function is its commands at a depth above 0.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from fakerun.job.importers.source import Source

_OPERATORS = ("&&", "||", ";;", "|&", ";", "|", "&", "(", ")")
_REDIRECTION = re.compile(r"[0-9]*(<<<|<<-?|<>|>>|>\||>&|<&|<|>)|&>>?")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ARRAY = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(\+?)=\(")
_SPECIAL = "0123456789@*#?$!-"
_OPENING = frozenset({"if", "for", "while", "until", "case", "select", "{"})
_CLOSING = frozenset({"fi", "done", "esac", "}"})
_INSIDE = frozenset({"then", "else", "elif", "do", "!", "time"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A stretch of a word: literal text, or with `is_expansion` what stands behind a dollar sign (`NAME`, `{NAME:-x}`, `(cmd)`)."""

    text: str
    quoted: bool
    is_expansion: bool = False


Word = tuple[Part, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayAssignment:
    """`NAME=(a b)`, or with `appends` `NAME+=(a b)`."""

    name: str
    appends: bool
    words: tuple[Word, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A simple command. `is_conditional`: inside a condition, a loop or a function, or behind `||`."""

    line: int
    words: tuple[Word | ArrayAssignment, ...]
    is_conditional: bool


def literal(word: Word | ArrayAssignment) -> str | None:
    """The text of a word without quotes and expansions; None for others."""
    if isinstance(word, ArrayAssignment) or any(part.quoted or part.is_expansion for part in word):
        return None
    return "".join(part.text for part in word)


def commands_of(source: Source, text: str, first_line: int = 1) -> Iterator[Command]:
    """The commands of a script whose first line is that line of the source.

    Raises:
        UsageError: a quote, a parenthesis or a brace is not closed.
    """
    scanner = _Scanner(source, text, first_line)
    depth, open_parentheses, joined = 0, 0, ""
    while not scanner.at_end():
        line, words, ended_by = scanner.command()
        words, depth = _without_keywords(words, depth)
        if words:
            yield Command(line=line, words=tuple(words), is_conditional=depth + open_parentheses > 0 or joined == "||")
        open_parentheses += (ended_by == "(") - (ended_by == ")" and open_parentheses > 0)  # those of `case` are closed only
        joined = ended_by


def parts_of(source: Source, text: str, line: int) -> Word:
    """The text as if it stood between double quotes: the default in `${NAME:-text}`."""
    return tuple(_Scanner(source, text, line).quoted_parts(until=None))


def _without_keywords(words: list[Word | ArrayAssignment], depth: int) -> tuple[list[Word | ArrayAssignment], int]:
    """The words behind reserved words, and the depth that these lead to."""
    while words:
        word = literal(words[0])
        if word in _OPENING:
            depth += 1
            if word in ("for", "case", "select"):  # what follows is no command
                return [], depth
        elif word in _CLOSING:
            depth = max(0, depth - 1)
        elif word == "function":
            return [], depth
        elif word not in _INSIDE:
            break
        words = words[1:]
    return words, depth


class _Scanner:
    def __init__(self, source: Source, text: str, line: int) -> None:
        self._source, self._text, self._position, self._first_line = source, text, 0, line
        self._line_at = (0, line)
        self._heredocs: list[str] = []

    def at_end(self) -> bool:
        return self._position >= len(self._text)

    def line(self) -> int:
        position, line = self._line_at
        line += self._text.count("\n", position, self._position)
        self._line_at = (self._position, line)
        return line

    def command(self) -> tuple[int, list[Word | ArrayAssignment], str]:
        """The line, the words and the operator behind the next command."""
        words: list[Word | ArrayAssignment] = []
        self._skip_blanks()
        line = self.line()
        while not self.at_end():
            if self._take("\n"):
                self._skip_heredocs()
                return line, words, "\n"
            if (found := _REDIRECTION.match(self._text, self._position)) is not None:
                self._redirection(found)
            elif (operator := next((each for each in _OPERATORS if self._take(each)), None)) is not None:
                return line, words, operator
            else:
                words.append(self._array() or self._word())
            self._skip_blanks()
        return line, words, ""

    def _array(self) -> ArrayAssignment | None:
        found = _ARRAY.match(self._text, self._position)
        if found is None:
            return None
        line, words = self.line(), list[Word]()
        self._position = found.end()
        while True:
            self._skip_blanks(also_lines=True)
            if self.at_end():
                raise self._source.refusal(line, f"the parenthesis of {found[1]}=( is not closed")
            if self._take(")"):
                return ArrayAssignment(name=found[1], appends=bool(found[2]), words=tuple(words))
            words.append(self._word() or self._stray_character())

    def _stray_character(self) -> Word:
        self._position += 1
        return (Part(text=self._text[self._position - 1], quoted=False),)

    def _redirection(self, found: re.Match[str]) -> None:
        self._position = found.end()
        self._skip_blanks()
        target = self._word()
        if (found[1] or "") in ("<<", "<<-"):
            self._heredocs.append("".join(part.text for part in target))

    def _skip_heredocs(self) -> None:
        for delimiter in self._heredocs:
            while not self.at_end():
                end = self._text.find("\n", self._position)
                end = len(self._text) if end < 0 else end
                found = self._text[self._position : end].strip("\t") == delimiter
                self._position = end + 1
                if found:
                    break
        self._heredocs.clear()

    def _skip_blanks(self, *, also_lines: bool = False) -> None:
        blanks = " \t\r\n" if also_lines else " \t\r"
        while not self.at_end():
            if self._text[self._position] in blanks:
                self._position += 1
            elif self._text.startswith(("\\\n", "\\\r\n"), self._position):
                self._position = self._text.index("\n", self._position) + 1
            elif self._text[self._position] == "#":
                end = self._text.find("\n", self._position)
                self._position = len(self._text) if end < 0 else end
            else:
                return

    def _take(self, text: str) -> bool:
        found = self._text.startswith(text, self._position)
        self._position += len(text) if found else 0
        return found

    def _word(self) -> Word:
        parts: list[Part] = []
        while not self.at_end() and (character := self._text[self._position]) not in " \t\r\n;&|()<>":
            if self._take("\\\n"):
                continue
            if self._take("'"):
                parts.append(Part(text=self._until("'", "quote '"), quoted=True))
            elif self._take("$'"):
                parts.append(Part(text=self._until("'", "quote $'"), quoted=True))
            elif self._take('"') or self._take('$"'):
                parts.extend(self.quoted_parts(until='"'))
            elif character in "$`":
                parts.append(self._expansion(quoted=False))
            elif self._take("\\"):
                parts.append(Part(text=self._text[self._position : self._position + 1], quoted=True))
                self._position += 1
            else:
                end = re.compile(r"[ \t\r\n;&|()<>'\"$`\\]").search(self._text, self._position)
                stop = len(self._text) if end is None else end.start()
                parts.append(Part(text=self._text[self._position : stop], quoted=False))
                self._position = stop
        return tuple(parts)

    def quoted_parts(self, until: str | None) -> Iterator[Part]:
        """What stands between double quotes, or up to the end of the text."""
        line = self.line()
        plain = re.compile(r"[^\"$`\\]+")
        yield Part(text="", quoted=True)  # "" is a word
        while not self.at_end():
            if until is not None and self._take(until):
                return
            if (found := plain.match(self._text, self._position)) is not None:
                self._position = found.end()
                yield Part(text=found[0], quoted=True)
            elif self._text[self._position] in "$`":
                yield self._expansion(quoted=True)
            elif self._take("\\"):
                escaped = self._text[self._position : self._position + 1]
                self._position += 1
                if escaped != "\n":
                    yield Part(text=escaped if escaped in '$`"\\' else "\\" + escaped, quoted=True)
            else:  # a double quote inside a default
                self._position += 1
        if until is not None:
            raise self._source.refusal(line, f"the quote {until} is not closed")

    def _until(self, end: str, what: str) -> str:
        line, start = self.line(), self._position
        found = self._text.find(end, start)
        if found < 0:
            raise self._source.refusal(line, f"the {what} is not closed")
        self._position = found + len(end)
        return self._text[start:found]

    def _expansion(self, *, quoted: bool) -> Part:
        if self._take("`"):
            return Part(text=f"({self._until('`', 'backquote')})", quoted=quoted, is_expansion=True)
        self._position += 1
        if self._text[self._position : self._position + 1] in ("(", "{"):
            return Part(text=self._balanced(), quoted=quoted, is_expansion=True)
        if (found := _NAME.match(self._text, self._position)) is not None:
            self._position = found.end()
            return Part(text=found[0], quoted=quoted, is_expansion=True)
        special = self._text[self._position : self._position + 1]
        if special and special in _SPECIAL:
            self._position += 1
            return Part(text=special, quoted=quoted, is_expansion=True)
        return Part(text="$", quoted=True)

    def _balanced(self) -> str:
        """From an opening parenthesis or brace to the one that closes it, both included."""
        opening = self._text[self._position]
        closing = {"(": ")", "{": "}"}[opening]
        line, start, open_ones = self.line(), self._position, 0
        token = re.compile(rf"\\.|'[^']*'|\"(?:\\.|[^\"\\])*\"|{re.escape(opening)}|{re.escape(closing)}", re.DOTALL)
        for found in token.finditer(self._text, start):
            open_ones += (found[0] == opening) - (found[0] == closing)
            if open_ones == 0:
                self._position = found.end()
                return self._text[start : self._position]
        raise self._source.refusal(line, f"${opening} is not closed")
