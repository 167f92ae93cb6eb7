"""Place: an instruction of running code, and the expression of the source that it evaluates."""

import ast
import dis
import linecache
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from types import CodeType, FrameType
from typing import TypeAlias

Scope: TypeAlias = ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
"""The node whose statements one code object runs. Comprehensions belong to the scope around them."""

_TESTS = ("POP_JUMP", "JUMP_IF", "TO_BOOL", "UNARY_NOT")
"""Instructions that ask for the truth of the value on the stack: the instruction before has made it."""

_NO_VALUE = {"CACHE", "EXTENDED_ARG", "COPY", "NOP", "PRECALL", "TO_BOOL", "NOT_TAKEN"}


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """An instruction of a code object: where a frame is. Code is compared by identity: by its contents it would take time."""

    code: CodeType
    offset: int
    """In bytes, as in `f_lasti`."""

    @classmethod
    def of(cls, frame: FrameType) -> "Place":
        return cls(frame.f_code, frame.f_lasti)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Place) and self.code is other.code and self.offset == other.offset

    def __hash__(self) -> int:
        return hash((id(self.code), self.offset))

    @property
    def raises(self) -> bool:
        """Whether the instruction is that of a `raise` or a failing `assert`."""
        return _operations(self.code).get(self.offset) == "RAISE_VARARGS"

    def node(self) -> ast.AST | None:
        """The expression whose value the instruction makes, or tests; a statement where it is no expression's; None without a source."""
        source = Source.of(self.code)
        return None if source is None else source.at(_positions(self.code).get(self._value_offset()))

    def _value_offset(self) -> int:
        operations = _operations(self.code)
        if not operations.get(self.offset, "").startswith(_TESTS):
            return self.offset
        before = [offset for offset, name in operations.items() if offset < self.offset and name not in _NO_VALUE]
        return before[-1] if before else self.offset


class Source:
    """The syntax tree of one file, with the way up from each node."""

    def __init__(self, tree: ast.Module) -> None:
        self.tree = tree
        self._parents: dict[ast.AST, ast.AST] = {}
        self._uses: dict[Scope, dict[str, list[ast.Name]]] = {}
        self._at: dict[tuple[int | None, ...], ast.AST] = {}
        for node in ast.walk(tree):
            for child in ast.iter_child_nodes(node):
                self._parents[child] = node
            if isinstance(node, (ast.expr, ast.stmt)):
                where = (node.lineno, node.end_lineno, node.col_offset, node.end_col_offset)
                if where not in self._at or not isinstance(self._at[where], ast.expr):
                    self._at[where] = node

    @classmethod
    def of(cls, code: CodeType) -> "Source | None":
        """The source of the file that the code is from; None if it cannot be read as Python."""
        return _source(code.co_filename)

    def at(self, position: tuple[int | None, ...] | None) -> ast.AST | None:
        """The expression or statement at a position: line, last line, column, last column."""
        return None if position is None else self._at.get(position)

    def parent(self, node: ast.AST) -> ast.AST | None:
        return self._parents.get(node)

    def parents(self, node: ast.AST) -> Iterator[tuple[ast.AST, ast.AST]]:
        """Each node on the way up, with its parent."""
        while (parent := self._parents.get(node)) is not None:
            yield node, parent
            node = parent

    def statement(self, node: ast.AST) -> ast.stmt | None:
        """The innermost statement that a node is in, or is."""
        while node is not None and not isinstance(node, ast.stmt):
            node = self._parents.get(node)  # type: ignore[assignment]
        return node

    def scope(self, node: ast.AST) -> Scope:
        """The innermost function, or the module, that a node is in."""
        for _, parent in self.parents(node):
            if isinstance(parent, Scope):
                return parent
        return self.tree

    def uses(self, scope: Scope, name: str) -> Sequence[ast.Name]:
        """Where a scope reads a name."""
        if scope not in self._uses:
            found = self._uses[scope] = {}
            for node in within(scope):
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                    found.setdefault(node.id, []).append(node)
        return self._uses[scope].get(name, ())

    def definition(self, code: CodeType) -> Scope | None:
        """The scope that a code object runs."""
        return self.tree if code.co_name == "<module>" else _definitions(self.tree).get((code.co_name, code.co_firstlineno))


def within(scope: ast.AST) -> Iterator[ast.AST]:
    """All nodes of a scope, without those of functions and classes that are defined in it."""
    waiting = list(ast.iter_child_nodes(scope))
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, (*Scope.__args__, ast.ClassDef)):
            waiting += ast.iter_child_nodes(node)


@cache
def _source(filename: str) -> Source | None:
    try:
        return Source(ast.parse("".join(linecache.getlines(filename))))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


@cache
def _definitions(tree: ast.Module) -> dict[tuple[str, int], Scope]:
    """Functions by name and first line, which is that of the first decorator."""
    found: dict[tuple[str, int], Scope] = {}
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            found[node.name, min([node.lineno, *(each.lineno for each in node.decorator_list)])] = node
        elif isinstance(node, ast.Lambda):
            found["<lambda>", node.lineno] = node
    return found


@lru_cache(maxsize=256)
def _positions(code: CodeType) -> dict[int, tuple[int | None, ...]]:
    return {index * 2: position for index, position in enumerate(code.co_positions())}


@lru_cache(maxsize=256)
def _operations(code: CodeType) -> dict[int, str]:
    """The names of a code object's instructions by their offsets, in order."""
    return {instruction.offset: instruction.opname for instruction in dis.get_instructions(code, show_caches=False)}
