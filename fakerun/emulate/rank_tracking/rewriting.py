"""Compiles a module with the operations that read a followed number unseen as calls of `operations`.

Like pytest does for assertions: on the syntax tree, so that every instruction keeps the line and the columns of its source. What the module
does is the same otherwise: operands are evaluated in order, each once, in the same scope.
"""

import ast
import builtins
from typing import Any

_OPERATIONS = "fakerun.emulate.rank_tracking.operations"
_NAME = "__fakerun_ranks__"
"""Under which a rewritten module has the operations: no name that `from module import *` copies."""

_FUNCTIONS = frozenset(
    {
        *("int", "float", "str", "repr", "map", "type", "range", "islice", "set", "frozenset"),
        *("bin", "hex", "oct", "chr", "match", "fullmatch", "search"),
        *("gcd", "lcm", "log", "log2", "log10", "isqrt", "factorial", "comb", "perm"),
    }
)
_METHODS = frozenset(
    {"get", "pop", "setdefault", "index", "count", "join", "isdisjoint", "issubset", "issuperset", "intersection", "difference"}
)
_SEEDING = frozenset(
    {"seed", "manual_seed", "manual_seed_all", "seed_all", "set_seed", "seed_everything", "default_rng", "Random", "RandomState", "PRNGKey"}
)
_OF_ITS_CALLER = frozenset(
    {"eval", "exec", "super", "globals", "locals", "vars", "dir", "warn", "_getframe", "print", "isinstance", "issubclass", "len", "id"}
)
"""Functions that look at the frame that calls them, or are called often and read no number."""

_compile = builtins.compile


def compile_followed(source: bytes | str, filename: str, *, optimize: int = -1, flags: int = 0) -> Any:
    """The module's code; None if it is to be compiled as it is: nothing in it is rewritten, or it is no Python."""
    try:
        tree = ast.parse(source, filename)
        rewriter = _Rewriter()
        tree = rewriter.visit(tree)
        if not rewriter.has_rewritten:
            return None
        _import_operations(tree)
        return _compile(tree, filename, "exec", flags, True, optimize)
    except (SyntaxError, ValueError, RecursionError):
        return None


def _import_operations(tree: ast.Module) -> None:
    """As the first statement that may be one: behind the docstring and imports from the future."""
    place = 1 if ast.get_docstring(tree, clean=False) is not None else 0
    while place < len(tree.body) and isinstance(each := tree.body[place], ast.ImportFrom) and each.module == "__future__":
        place += 1
    statement = ast.Import(names=[ast.alias(name=_OPERATIONS, asname=_NAME)])
    line = tree.body[min(place, len(tree.body) - 1)].lineno
    for node in ast.walk(statement):
        vars(node).update(lineno=line, end_lineno=line, col_offset=0, end_col_offset=0)
    tree.body.insert(place, statement)


class _Rewriter(ast.NodeTransformer):
    def __init__(self) -> None:
        self.has_rewritten = False

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        """`a in b`, `a not in b`; the sides of `a == b`, which may be devices."""
        self.generic_visit(node)
        if len(node.ops) != 1 or isinstance(node.left, ast.Constant):
            return node
        if isinstance(node.ops[0], ast.Eq | ast.NotEq) and not isinstance(node.comparators[0], ast.Constant):
            node.left = self._call("compared", node.left, node.left)
            node.comparators = [self._call("compared", node.comparators[0], node.comparators[0])]
            return node
        if not isinstance(node.ops[0], ast.In | ast.NotIn):
            return node
        call = self._call("contains", node, node.left, node.comparators[0])
        return call if isinstance(node.ops[0], ast.In) else ast.copy_location(ast.UnaryOp(op=ast.Not(), operand=call), node)

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        """`a[b]`; where an entry is set or deleted, the key is a plain one."""
        self.generic_visit(node)
        if _is_constant(node.slice):
            return node
        if isinstance(node.ctx, ast.Load):
            return self._call("item", node, node.value, self._key(node.slice))
        if not _has_slices(node.slice):
            node.slice = self._call("key", node.slice, node.slice)
        return node

    def visit_Set(self, node: ast.Set) -> ast.expr:
        """`{a, b}`: C compares its entries with those of other sets."""
        self.generic_visit(node)
        return node if all(isinstance(each, ast.Constant) for each in node.elts) else self._call("set_of", node, *node.elts)

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        """`a.index`, of a device."""
        self.generic_visit(node)
        return self._call("index_of", node, node.value) if node.attr == "index" and isinstance(node.ctx, ast.Load) else node

    def visit_Call(self, node: ast.Call) -> ast.expr:
        """`int(a)`, `a.get(b)`, `torch.manual_seed(a)`."""
        function = node.func
        if isinstance(function, ast.Attribute):
            function.value = self.visit(function.value)
        else:
            function = node.func = self.visit(function)
        node.args = [self.visit(arg) for arg in node.args]
        node.keywords = [self.visit(keyword) for keyword in node.keywords]
        name = function.attr if isinstance(function, ast.Attribute) else function.id if isinstance(function, ast.Name) else ""
        if name == "get_device" and isinstance(function, ast.Attribute):
            node.args.insert(0, function.value)
            node.func = self._operation("get_device", function)
        elif name in _FUNCTIONS and (node.args or node.keywords):
            node.func = self._call("callee", function, function)
        elif name in _SEEDING:
            node.args = [arg if isinstance(arg, ast.Starred | ast.Constant) else self._call("seed", arg, arg) for arg in node.args]
            for keyword in node.keywords:
                if keyword.arg is not None and not isinstance(keyword.value, ast.Constant):
                    keyword.value = self._call("seed", keyword.value, keyword.value)
        elif isinstance(function, ast.Attribute) and _may_follow(function, node):
            node.func = self._call("method", function, function.value, ast.copy_location(ast.Constant(function.attr), function))
        elif name not in _OF_ITS_CALLER and not all(isinstance(each, ast.Constant) for each in (*node.args, *_values(node))):
            node.func = self._call("callee", function, function)
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        """`"..." % a`."""
        self.generic_visit(node)
        is_text = isinstance(node.op, ast.Mod) and isinstance(node.left, ast.Constant) and isinstance(node.left.value, str)
        return self._call("percent", node, node.left, node.right) if is_text else node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.expr:
        """`f"a{b}c{d}"`: its parts, each formatted as it was."""
        self._visit_values(node)
        if len(node.values) < 2:
            return node
        parts = [
            ast.copy_location(ast.JoinedStr(values=[value]), value) if isinstance(value, ast.FormattedValue) else value
            for value in node.values
        ]
        return self._call("join", node, *parts)

    def visit_TemplateStr(self, node: ast.expr) -> ast.expr:
        """`t"a{b}"`, of Python 3.14: no text."""
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> Any:
        """A function; not one that another compiler reads, and never its annotations."""
        return self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> Any:
        return self._function(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AnnAssign:
        node.target = self.visit(node.target)
        if node.value is not None:
            node.value = self.visit(node.value)
        return node

    def visit_arg(self, node: ast.arg) -> ast.arg:
        return node

    def _visit_values(self, node: ast.JoinedStr) -> None:
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                part.value = self.visit(part.value)
                if part.conversion == -1 and not isinstance(part.value, ast.Constant):
                    part.value = self._call("written", part.value, part.value)
                if isinstance(part.format_spec, ast.JoinedStr):
                    self._visit_values(part.format_spec)

    def _function(self, node: Any) -> Any:
        if any(ast.unparse(decorator).partition("(")[0].endswith(("jit", "script")) for decorator in node.decorator_list):
            return node
        returns, node.returns = node.returns, None
        self.generic_visit(node)
        node.returns = returns
        return node

    def _key(self, key: ast.expr) -> ast.expr:
        """A subscript as an expression: slices as calls of `slice`."""
        if isinstance(key, ast.Tuple):
            key.elts = [self._key(element) for element in key.elts]
            return key
        if not isinstance(key, ast.Slice):
            return key
        bounds = [bound if bound is not None else ast.copy_location(ast.Constant(None), key) for bound in (key.lower, key.upper, key.step)]
        return self._call("slice_of", key, *bounds)

    def _call(self, operation: str, where: ast.expr, *args: ast.expr) -> ast.Call:
        return ast.copy_location(ast.Call(func=self._operation(operation, where), args=list(args), keywords=[]), where)

    def _operation(self, operation: str, where: ast.expr) -> ast.expr:
        self.has_rewritten = True
        module = ast.copy_location(ast.Name(id=_NAME, ctx=ast.Load()), where)
        return ast.copy_location(ast.Attribute(value=module, attr=operation, ctx=ast.Load()), where)


def _values(call: ast.Call) -> list[ast.expr]:
    return [keyword.value for keyword in call.keywords]


def _may_follow(function: ast.Attribute, call: ast.Call) -> bool:
    """Whether the method is one of Python's collections or texts whose arguments may be followed."""
    if function.attr == "format":
        return isinstance(function.value, ast.Constant) and isinstance(function.value.value, str)
    return function.attr in _METHODS and bool(call.args) and not isinstance(call.args[0], ast.Constant)


def _is_constant(key: ast.expr) -> bool:
    """Whether a subscript depends on nothing: `x[0]`, `x[:, -1]`, `x["a"]`."""
    return not any(isinstance(node, ast.Name | ast.Call) for node in ast.walk(key))


def _has_slices(key: ast.expr) -> bool:
    return any(isinstance(node, ast.Slice | ast.Starred) for node in ast.walk(key))
