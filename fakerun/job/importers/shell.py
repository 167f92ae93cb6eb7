"""What a shell script does up to each of its commands: variables that it sets are substituted, its directory is followed.

Nothing is run. What is not known (a command's output, a variable that the script does not set, what a condition decides) stays as it is
written, and every word says which names in it are unknown.
"""

import ast
import operator
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from fakerun.job.importers.shell_words import ArrayAssignment, Command, Part, Word, commands_of, literal, parts_of
from fakerun.job.importers.source import Note, Source
from fakerun.printable import cut

_MOST_CHARACTERS = 1 << 16
"""Of a word: variables that double each other grow without end."""
_MOST_WORDS = 1 << 14
_MOST_NESTED = 4
_SHOWN = 60

_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(\[[^\]]*\])?(\+?)=")
_PARAMETER = re.compile(r"\{(#?)([A-Za-z_][A-Za-z0-9_]*|[0-9@*#?$!-])(?:\[([@*]|[0-9]+)\])?(?:(:?[-=])(.*))?\}", re.DOTALL)
_EXPR = re.compile(r"\(\s*expr\s+([^()]*)\)")
"""The arithmetic of older scripts: `$(expr 2 + 4)`."""
_SECRET = re.compile(r"(^|_)(TOKEN|KEY|SECRET|PASSWORD|PASSWD|CREDENTIALS?)(_|$)|APIKEY|ACCESSKEY", re.IGNORECASE)
_DECLARING = frozenset({"export", "declare", "typeset", "local", "readonly"})
_SHELLS = frozenset({"bash", "sh", "zsh", "dash"})
_OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul}
_DIVISIONS = {ast.Div: operator.floordiv, ast.Mod: operator.mod}

Pieces = tuple[tuple[str, bool], ...]
"""Text in stretches, and of each whether it is unknown: then it is what stands in the script, `$NAME`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpandedWord:
    """A word of a command. `unknown` are the expansions in it that are still there."""

    text: str
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ShellCommand:
    """A command as it would be started: with its own variables, those exported before it, and its directory."""

    line: int
    words: tuple[ExpandedWord, ...]
    own_env: tuple[tuple[str, ExpandedWord], ...]
    exported: Mapping[str, tuple[int, ExpandedWord]]
    """The line of each export, and its value."""
    directory: str
    is_conditional: bool
    used: frozenset[str] = frozenset()
    """The variables whose values are in its words."""


@dataclass(slots=True, kw_only=True)
class _State:
    variables: dict[str, tuple[Pieces, ...]]
    exported: dict[str, int] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    """Variables whose values are in what is being expanded."""
    made_of: dict[str, frozenset[str]] = field(default_factory=dict)
    """Of each variable, those whose values are in its own."""
    notes: dict[Note, None] = field(default_factory=dict)
    directory: str = ""
    budget: int = _MOST_WORDS


def is_secret(name: str) -> bool:
    """Whether a variable is named as those are whose values belong in no file: they stay unknown."""
    return _SECRET.search(name) is not None


class Shell:
    """The interpretation of one script. `notes` say which defaults were taken."""

    def __init__(self, source: Source, variables: Mapping[str, str], exported: Mapping[str, int] | None = None) -> None:
        """`variables` are set before the script starts; of these `exported` are in the environment, with their lines."""
        self._source = source
        self._state = _State(variables={name: (_given(name, value),) for name, value in variables.items()}, exported=dict(exported or {}))

    @property
    def notes(self) -> tuple[Note, ...]:
        return tuple(self._state.notes)

    def commands(self, text: str, first_line: int = 1, nested: int = 0) -> Iterator[ShellCommand]:
        """The commands of the script, and of what it gives to `bash -c` or `eval`.

        Raises:
            UsageError: the script cannot be read, or its variables grow without end.
        """
        for command in commands_of(self._source, text, first_line):
            assigned = self._assigned(command)
            if assigned is None:
                continue
            own, rest = assigned
            self._state.used = set()
            words = tuple(word for part in rest if not isinstance(part, ArrayAssignment) for word in self._expanded(part, command.line))
            inner = self._inner_script(words, command.line)
            if inner is not None and nested < _MOST_NESTED:
                yield from self._prefixed(self.commands(inner, command.line, nested + 1), words, command.line)
            elif words:
                yield self._command(command, words, own)

    def _command(self, command: Command, words: tuple[ExpandedWord, ...], own: tuple[tuple[str, ExpandedWord], ...]) -> ShellCommand:
        state = self._state
        if words[0].text == "cd" and not command.is_conditional:
            self._change_directory(words[1:], command.line)
        exported = {name: (line, self._value(name)) for name, line in state.exported.items() if name in state.variables}
        return ShellCommand(
            line=command.line,
            words=words,
            own_env=own,
            exported=exported,
            directory=state.directory,
            is_conditional=command.is_conditional,
            used=frozenset(state.used),
        )

    def _change_directory(self, words: tuple[ExpandedWord, ...], line: int) -> None:
        target = next((word for word in words if not word.text.startswith("-")), None)
        if target is not None and target.unknown:
            text = f"the directory {cut(target.text, _SHOWN)} is not known here: set workdir if it is another one than that of the job file"
            self._state.notes[Note(line=line, text=text)] = None
        elif target is not None:
            self._state.directory = posixpath.normpath(posixpath.join(self._state.directory, target.text))

    def _prefixed(self, inner: Iterable[ShellCommand], words: tuple[ExpandedWord, ...], line: int) -> Iterator[ShellCommand]:
        """The commands of `srun bash -c '...'`, each behind the `srun` with its options."""
        prefix = words[: next(index for index, word in enumerate(words) if _is_shell(word.text) or word.text == "eval")]
        used = frozenset(self._state.used)
        for command in inner:
            yield replace(command, line=line, words=(*prefix, *command.words), used=command.used | used)

    def _inner_script(self, words: tuple[ExpandedWord, ...], line: int) -> str | None:
        """The script in `bash -c SCRIPT` or `eval SCRIPT`; also with other words before it."""
        texts = [word.text for word in words]
        if texts[:1] == ["eval"]:
            return " ".join(texts[1:])
        for index, text in enumerate(texts):
            if _is_shell(text):
                options = index + 1
                while options < len(texts) and re.fullmatch(r"-[a-z]+", texts[options]):
                    if texts[options].endswith("c") and options + 1 < len(texts):
                        return texts[options + 1]
                    options += 1
        return None

    def _assigned(self, command: Command) -> "tuple[tuple[tuple[str, ExpandedWord], ...], list[Word | ArrayAssignment]] | None":
        """Carry out the assignments of a command. Those before other words are the command's own; None if there are no others."""
        words = list(command.words)
        first = 0
        while first < len(words) and (isinstance(words[first], ArrayAssignment) or _assigned_name(words[first])):
            first += 1
        if first == len(words) or literal(words[first]) in _DECLARING:
            for word in words:
                self._assign(word, command)
            if first < len(words):
                self._declare(words[first:], command)
            return None
        if literal(words[first]) == "unset":
            for word in words[first:]:
                self._state.variables.pop(literal(word) or "", None)
            return None
        own = []
        for word in words[:first]:
            name = _assigned_name(word)
            if name is not None and not isinstance(word, ArrayAssignment):
                own.append((name, self._as_word(self._pieces(_value_parts(word), command.line))))
        return tuple(own), words[first:]

    def _declare(self, words: list[Word | ArrayAssignment], command: Command) -> None:
        options = {text for word in words if (text := literal(word) or "").startswith("-")}
        if literal(words[0]) == "export" or any("x" in option for option in options):
            for word in words[1:]:
                name = word.name if isinstance(word, ArrayAssignment) else _assigned_name(word) or literal(word)
                if name and re.fullmatch(r"[A-Za-z_]\w*", name):
                    self._state.exported[name] = command.line

    def _assign(self, word: Word | ArrayAssignment, command: Command) -> None:
        name = word.name if isinstance(word, ArrayAssignment) else _assigned_name(word)
        if name is None:
            return
        variables = self._state.variables
        self._state.used = set()
        if command.is_conditional or is_secret(name):
            variables[name] = (((f"${name}", True),),)
        elif isinstance(word, ArrayAssignment):
            fields = [field for part in word.words for field in self._fields(part, command.line)]
            variables[name] = (*(variables.get(name, ()) if word.appends else ()), *fields)
        else:
            found = _ASSIGNMENT.match(_leading_text(word))
            pieces = self._pieces(_value_parts(word), command.line)
            if found is not None and found[2]:
                variables[name] = (((f"${{{name}[...]}}", True),),)
            elif found is not None and found[3]:
                old = variables.get(name, ((),))
                variables[name] = (old[0] + pieces, *old[1:])
            else:
                variables[name] = (pieces,)
        self._state.made_of[name] = frozenset(self._state.used)
        self._check_size(variables[name], command.line)

    def _check_size(self, fields: Iterable[Pieces], line: int) -> None:
        if sum(len(text) for pieces in fields for text, _ in pieces) > _MOST_CHARACTERS:
            message = f"a variable exceeds {_MOST_CHARACTERS} characters; write the command out in a file of its own"
            raise self._source.refusal(line, message)

    def _value(self, name: str) -> ExpandedWord:
        fields = self._state.variables[name]
        return self._as_word(fields[0] if fields else ())

    def _as_word(self, pieces: Pieces) -> ExpandedWord:
        unknown = tuple(dict.fromkeys(cut(text, _SHOWN) for text, is_unknown in pieces if is_unknown))
        return ExpandedWord(text="".join(text for text, _ in pieces), unknown=unknown)

    def _expanded(self, word: Word, line: int) -> list[ExpandedWord]:
        fields = self._fields(word, line)
        self._state.budget -= len(fields)
        if self._state.budget < 0:
            raise self._source.refusal(line, f"the script has more than {_MOST_WORDS} words; write the command out in a file of its own")
        return [self._as_word(field) for field in fields]

    def _pieces(self, word: Word, line: int) -> Pieces:
        """A value that is not split: that of an assignment."""
        fields = [field for part in word for field in self._part(part, line)]
        self._check_size(fields, line)
        return tuple(piece for field in fields for piece in field)

    def _fields(self, word: Word, line: int) -> list[Pieces]:
        """The words that a word becomes: unquoted values are split at blanks, `"${ARRAY[@]}"` is a word for each element."""
        fields: list[list[tuple[str, bool]]] = []
        is_open = False  # whether the next piece continues the last field
        for part in word:
            values = self._part(part, line)
            for index, pieces in enumerate(values):
                if index > 0:
                    is_open = False
                if part.is_expansion and not part.quoted:
                    is_open = _append_split(fields, pieces, is_open=is_open)
                else:
                    if not is_open:
                        fields.append([])
                    fields[-1].extend(pieces)
                    is_open = True
            self._check_size([tuple(field) for field in fields], line)
        return [tuple(field) for field in fields]

    def _part(self, part: Part, line: int) -> tuple[Pieces, ...]:
        if not part.is_expansion:
            return (((part.text, False),),)
        return self._expansion(part.text, line)

    def _expansion(self, text: str, line: int) -> tuple[Pieces, ...]:
        unknown = ((((f"${text}"), True),),)
        if text.startswith("(("):
            number = self._arithmetic(text[2:-2])
            return unknown if number is None else (((str(number), False),),)
        if (sum_ := _EXPR.fullmatch(text)) is not None:
            number = self._arithmetic(sum_[1].replace("\\*", "*"))
            return unknown if number is None else (((str(number), False),),)
        found = _PARAMETER.fullmatch(text if text.startswith("{") else f"{{{text}}}")
        if text.startswith("(") or found is None:
            return unknown
        counts, name, index, test, default = found.groups()
        fields = self._state.variables.get(name)
        is_undecided = fields == (((f"${name}", True),),)  # set under a condition
        if fields is not None and not (test and (is_undecided or (test.startswith(":") and _is_empty(fields)))):
            self._state.used |= {name} | self._state.made_of.get(name, frozenset())
            if counts:
                return (((str(len(fields)) if index else str(sum(len(text) for text, _ in fields[0])), False),),) if fields else unknown
            return _selected(fields, index) or unknown
        if test is None or counts:
            return unknown
        return self._default(name, test, default, line)

    def _default(self, name: str, test: str, default: str, line: int) -> tuple[Pieces, ...]:
        pieces = self._pieces(parts_of(self._source, default, line), line)
        shown = cut("".join(text for text, _ in pieces), _SHOWN)
        why = "is set under a condition" if name in self._state.variables else "is not set here"
        if name not in self._state.variables or self._value(name).text:
            self._state.notes[Note(line=line, text=f"{name} {why}: its default {shown!r} is taken")] = None
        if test.endswith("="):
            self._state.variables[name] = (pieces,)
        return (pieces,)

    def _arithmetic(self, expression: str) -> int | None:
        """The value of `$((expression))`, if it is one of whole numbers and known variables."""

        def known(found: re.Match[str]) -> str:
            name = found[1] or found[2]
            self._state.used.add(name)
            word = self._value(name) if name in self._state.variables else None
            return word.text if word is not None and re.fullmatch(r"[0-9]{1,18}", word.text.strip()) else "?"

        text = re.sub(r"\$?\{?([A-Za-z_]\w*)\}?|\$\{([A-Za-z_]\w*)\}", known, expression).strip()
        if len(text) > _SHOWN * 4 or not re.fullmatch(r"[0-9+\-*/%() \t\n]+", text) or "**" in text:
            return None
        try:
            return _evaluated(ast.parse(re.sub(r"\b0+(?=[0-9])", "", text).replace("\n", " "), mode="eval").body)
        except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError):
            return None


def _given(name: str, value: str) -> Pieces:
    return ((f"${name}", True),) if is_secret(name) else ((value, False),)


def _is_shell(text: str) -> bool:
    return text.rpartition("/")[2] in _SHELLS


def _evaluated(node: ast.expr) -> int:
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = _evaluated(node.operand)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp):
        compute = (_OPERATORS | _DIVISIONS).get(type(node.op))
        if compute is not None:
            return int(compute(_evaluated(node.left), _evaluated(node.right)))
    raise ValueError(ast.dump(node))


def _leading_text(word: Word) -> str:
    return word[0].text if word and not word[0].quoted and not word[0].is_expansion else ""


def _assigned_name(word: Word | ArrayAssignment) -> str | None:
    """NAME of `NAME=value`, or None."""
    if isinstance(word, ArrayAssignment):
        return word.name
    found = _ASSIGNMENT.match(_leading_text(word))
    return None if found is None else found[1]


def _value_parts(word: Word) -> Word:
    """What stands behind the `=`."""
    found = _ASSIGNMENT.match(_leading_text(word))
    assert found is not None
    return (Part(text=word[0].text[found.end() :], quoted=False), *word[1:])


def _is_empty(fields: tuple[Pieces, ...]) -> bool:
    return not any(text for pieces in fields for text, _ in pieces)


def _selected(fields: tuple[Pieces, ...], index: str | None) -> tuple[Pieces, ...] | None:
    """The value of `$NAME`, `${NAME[2]}` or `${NAME[@]}`; None if there is none."""
    if index in ("@", "*"):
        return fields or ((),)
    number = int(index or 0)
    if number < len(fields):
        return (fields[number],)
    return None if index else ((),)


def _append_split(fields: list[list[tuple[str, bool]]], pieces: Pieces, *, is_open: bool) -> bool:
    """Add an unquoted value, split at blanks; whether the last field is still open."""
    for text, is_unknown in pieces:
        runs = [text] if is_unknown else re.findall(r"[ \t\n]+|[^ \t\n]+", text)
        for run in runs:
            if not is_unknown and run.isspace():
                is_open = False
                continue
            if not is_open:
                fields.append([])
            fields[-1].append((run, is_unknown))
            is_open = True
    return is_open
