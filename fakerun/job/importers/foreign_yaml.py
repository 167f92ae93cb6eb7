"""YAML as the tool reads it that a file is for: YAML 1.1 with aliases, several documents. Every part knows its line."""

from collections.abc import Iterator
from dataclasses import dataclass

import yaml

from fakerun.job.importers.source import Source

_MOST_DOCUMENTS = 100
_MERGE = "tag:yaml.org,2002:merge"


@dataclass(frozen=True, slots=True)
class YamlPart:
    """A value in a file: a mapping, a list or a scalar. A missing one has no node, and the line of what it is missing in."""

    source: Source
    node: yaml.Node | None
    line: int
    path: str = ""

    def __getitem__(self, key: str) -> "YamlPart":
        """The value of a key; a missing part if there is none, or this is no mapping."""
        path = f"{self.path}.{key}".lstrip(".")
        if isinstance(self.node, yaml.MappingNode):
            for label, value in reversed(self.node.value):  # of a repeated key the last one counts
                if isinstance(label, yaml.ScalarNode) and label.value == key:
                    return YamlPart(self.source, value, _line(label), path)
        return YamlPart(self.source, None, self.line, path)

    def __bool__(self) -> bool:
        """Whether the file has it, and with a value: `key:` alone is none."""
        return self.node is not None and self.node.tag != "tag:yaml.org,2002:null"

    def names(self) -> tuple[str, ...]:
        """The keys of a mapping; nothing of anything else."""
        if not isinstance(self.node, yaml.MappingNode):
            return ()
        return tuple(dict.fromkeys(label.value for label, _ in self.node.value if isinstance(label, yaml.ScalarNode)))

    def items(self) -> Iterator["YamlPart"]:
        """Of a list; nothing of anything else."""
        if isinstance(self.node, yaml.SequenceNode):
            for index, item in enumerate(self.node.value):
                yield YamlPart(self.source, item, _line(item), f"{self.path}[{index}]")

    @property
    def is_mapping(self) -> bool:
        return isinstance(self.node, yaml.MappingNode)

    @property
    def is_list(self) -> bool:
        return isinstance(self.node, yaml.SequenceNode)

    def text(self) -> str | None:
        """A scalar as it is written; None of what is missing or no scalar."""
        return str(self.node.value) if isinstance(self.node, yaml.ScalarNode) and self else None

    def is_true(self) -> bool:
        """Whether it is a boolean of YAML 1.1 that is true, quoted or not."""
        return (self.text() or "").lower() in ("true", "yes", "on")

    def texts(self) -> tuple[str, ...]:
        """The scalars of a list.

        Raises:
            UsageError: it is no list of scalars.
        """
        if not self:
            return ()
        texts = [item.text() for item in self.items()]
        if not self.is_list or None in texts:
            raise self.source.refusal(self.line, f"{self.path}: must be a list of strings")
        return tuple(text for text in texts if text is not None)


def documents_of(source: Source) -> tuple[YamlPart, ...]:
    """The documents of a file that are not empty, at least one.

    Raises:
        UsageError: it is not YAML, has merge keys, or an alias in it contains itself.
    """
    documents = []
    try:
        for node in yaml.compose_all(source.text, Loader=yaml.SafeLoader):
            documents.append(YamlPart(source, node, _line(node)))
            if len(documents) > _MOST_DOCUMENTS:
                raise source.refusal(_line(node), f"more than {_MOST_DOCUMENTS} documents; keep the one to import")
            _check(source, node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise source.refusal(mark.line + 1 if mark is not None else 1, f"not valid YAML: {error.problem or error.context}") from error
    except yaml.reader.ReaderError as error:
        line = source.text.count("\n", 0, error.position) + 1
        raise source.refusal(line, f"not valid YAML: the character U+{error.character:04X} is not allowed") from error
    except RecursionError as error:
        raise source.refusal(1, "lists or mappings are nested too deeply") from error
    found = tuple(document for document in documents if document)
    if not found:
        raise source.refusal(1, "the file has no YAML document; it may be a shell script: --kind command")
    return found


def _check(source: Source, root: yaml.Node) -> None:
    """Refuse what would be read without end, or as something else than it is: each node is looked at once."""
    finished: set[yaml.Node] = set()
    above: set[yaml.Node] = set()
    stack: list[tuple[yaml.Node, bool]] = [(root, False)]
    while stack:
        node, is_left = stack.pop()
        if is_left:
            above.discard(node)
            finished.add(node)
        elif node in above:
            raise source.refusal(_line(node), "an alias contains itself; write out what it stands for")
        elif node not in finished and isinstance(node, yaml.CollectionNode):
            above.add(node)
            stack.append((node, True))
            stack.extend((child, False) for child in _children(source, node))


def _children(source: Source, node: yaml.CollectionNode) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        for label, value in node.value:
            if label.tag == _MERGE:
                raise source.refusal(_line(label), "merge keys (<<) are not read; write out what is merged")
            yield value
    else:
        yield from node.value


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
