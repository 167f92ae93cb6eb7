"""A YAML file as plain values with the lines of their sources, without YAML's ambiguities. It knows nothing about jobs.

YAML 1.1, which PyYAML reads, takes `no` for False, `010` for 8 and `2:4` for 124, and lets a repeated key overwrite silently. Here each
of these is an error, as is everything except plain maps, lists and scalars.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import yaml

from fakerun.errors import UsageError
from fakerun.job.document import MOST_BYTES, Document, Key, Problem, read_text

_MAP, _LIST = "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"
_BOOL, _INT, _FLOAT = "tag:yaml.org,2002:bool", "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
_NULL, _TEXT, _DATE = "tag:yaml.org,2002:null", "tag:yaml.org,2002:str", "tag:yaml.org,2002:timestamp"
_ALLOWED_TAGS = frozenset({_MAP, _LIST, _BOOL, _INT, _FLOAT, _NULL, _TEXT, _DATE})
_BASE_60 = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")
_BASE_8 = re.compile(r"[-+]?0[0-7_]+")


class _Loader(yaml.SafeLoader):
    """Composes nodes as SafeLoader does, but `<<` and `=` are ordinary text: job files have no merge keys."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if not tag.endswith((":merge", ":value"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class YamlDocument(Document):
    """One parsed file in YAML."""

    def __init__(self, path: Path, *, most_bytes: int = MOST_BYTES) -> None:
        """Read and parse; valid YAML that is ambiguous is noted among the problems.

        Raises:
            UsageError: the file cannot be read or is not YAML.
        """
        super().__init__(path)
        self._root = _compose(path, read_text(path, most_bytes=most_bytes))
        self._note_ambiguities(self._root, (), set())
        self.value = _plain(self._root, {})

    def line(self, path: Sequence[Key]) -> int:
        """The line of a part, or of its key if it has one; of the innermost part that exists if the path continues below it."""
        node, line = self._root, _line(self._root)
        for key in path:
            found = _child(node, key)
            if found is None:
                break
            label, node = found
            line = _line(label)
        return line

    def text(self, path: Sequence[Key]) -> str:
        """The scalar at `path`, as it is written in the file: `1.50`, not 1.5."""
        node = self._root
        for key in path:
            found = _child(node, key)
            assert found is not None, f"no {key!r} in {path!r}"
            node = found[1]
        assert isinstance(node, yaml.ScalarNode), path
        return str(node.value)

    def _note_ambiguities(self, node: yaml.Node, path: tuple[Key, ...], seen: set[yaml.Node]) -> None:
        """Note the ambiguities in a part and below it, once for each node: an alias is not a new node, and may contain itself."""
        if node in seen:
            return
        seen.add(node)
        message = _ambiguity(node)
        if message is not None:
            self.refuse(path, message)
        elif isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                self._note_ambiguities(item, (*path, index), seen)
        elif isinstance(node, yaml.MappingNode):
            self._note_ambiguous_keys(node, path)
            for key, value in node.value:
                self._note_ambiguities(value, (*path, key.value), seen)

    def _note_ambiguous_keys(self, node: yaml.MappingNode, path: tuple[Key, ...]) -> None:
        first_lines: dict[str, int] = {}
        for key, _ in node.value:
            line = _line(key)
            if not isinstance(key, yaml.ScalarNode):
                self.problems.append(Problem(line=line, path=path, message="a key must be a string, not a list or a mapping"))
                continue
            message = _ambiguity(key)
            if key.value in first_lines:
                message = f"duplicate key (first on line {first_lines[key.value]}); keep one"
            if message is not None:
                self.problems.append(Problem(line=line, path=(*path, key.value), message=message))
            first_lines.setdefault(key.value, line)


def _compose(path: Path, text: str) -> yaml.Node:
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark is not None else 1
        raise UsageError(f"{path}:{line}: not valid YAML: {error.problem or error.context}{_advice(error)}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise UsageError(f"{path}:{line}: not valid YAML: the character U+{error.character:04X} is not allowed") from error
    except RecursionError as error:
        raise UsageError(f"{path}:1: lists or mappings are nested too deeply") from error
    if node is None:
        raise UsageError(f"{path}:1: the file is empty")
    return node


def _advice(error: yaml.MarkedYAMLError) -> str:
    """How to fix the most common syntax error."""
    return "; indent with spaces, not tabs" if "'\\t'" in (error.problem or "") else ""


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _child(node: yaml.Node, key: Key) -> tuple[yaml.Node, yaml.Node] | None:
    """The node that labels the part called `key` (its key, or the item itself), and the part."""
    if isinstance(node, yaml.MappingNode):
        return next(((label, value) for label, value in node.value if label.value == key), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        return node.value[key], node.value[key]
    return None


def _ambiguity(node: yaml.Node) -> str | None:
    """Why the value of a part may differ from what it looks like; None if it cannot."""
    if node.tag not in _ALLOWED_TAGS:
        return f"the tag {node.tag} is not allowed; write a plain value"
    if not isinstance(node, yaml.ScalarNode) or node.style is not None:  # a quoted scalar is exactly its text
        return None
    text = node.value
    if node.tag == _NULL:
        return "has no value; give one or remove the key"
    if node.tag == _BOOL and text.lower() not in ("true", "false"):
        return f"{text} is a boolean in YAML; write true or false, or quote it ('{text}')"
    if node.tag in (_INT, _FLOAT) and _BASE_60.fullmatch(text):
        return f"{text} is a base-60 number in YAML; quote it ('{text}'), or write a mesh as 2x4"
    if node.tag == _INT and _BASE_8.fullmatch(text):
        return f"{text} is an octal number in YAML; drop the leading 0, or quote it ('{text}')"
    return None


def _plain(node: yaml.Node, converted: dict[yaml.Node, object]) -> object:
    """Maps with text keys, lists and scalars. `converted` has the value of each node: aliases share it, and may contain themselves."""
    if node in converted:
        return converted[node]
    if isinstance(node, yaml.MappingNode):
        converted[node] = plain_map = dict[str, object]()
        plain_map.update((key.value, _plain(value, converted)) for key, value in node.value if isinstance(key, yaml.ScalarNode))
    elif isinstance(node, yaml.SequenceNode):
        converted[node] = plain_list = list[object]()
        plain_list.extend(_plain(item, converted) for item in node.value)
    else:
        converted[node] = _scalar(node)
    return converted[node]


def _scalar(node: yaml.Node) -> object:
    """A truth value, a number, None or text; a date stays the text in the file."""
    if node.tag not in (_BOOL, _INT, _FLOAT, _NULL):
        return node.value
    try:
        return yaml.constructor.SafeConstructor().construct_object(node)
    except (ValueError, KeyError):  # an explicit tag on something else (`!!int x`), or more digits than Python converts
        return node.value
