"""A case of this suite: a program with a mismatch between ranks, and the finding that it must cause."""

import ast
from dataclasses import dataclass
from pathlib import Path

from fakerun.errors import ExitCode
from fakerun.records.finding_code import FindingCode, Severity

BUGS = Path(__file__).parent / "bugs"
REPORTS = Path(__file__).parent / "reports"
LEGAL = Path(__file__).parent / "legal"

BUG_MARK, PEER_MARK = "  # BUG", "  # PEER"


@dataclass(frozen=True, kw_only=True)
class Program:
    """A program's file. A line that ends with `# BUG` is where the finding must be, one with `# PEER` is the line of the other ranks."""

    path: Path

    @property
    def description(self) -> str:
        """What it does, and its bug, if it has one."""
        docstring = ast.get_docstring(ast.parse(self.path.read_text()))
        assert docstring, f"{self.path} has no docstring"
        return " ".join(docstring.split())

    @property
    def code(self) -> list[str]:
        """Its lines without the docstring and the marks."""
        _, text = self.path.read_text().split('"""\n', maxsplit=1)
        return [line.removesuffix(BUG_MARK).removesuffix(PEER_MARK) for line in text.splitlines()]

    def lines(self, mark: str) -> list[str]:
        """The marked lines, as findings name them."""
        source = self.path.read_text().splitlines()
        return [f"{self.path.name}:{number}" for number, line in enumerate(source, start=1) if line.endswith(mark)]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A program, and the only error that it must cause, and its twin without it; `says` are parts of the error's message.

    `besides` are codes of expected warnings. With `no_majority`, the ranks in the finding are a convention. `blocked` are
    the ranks whose host waits for ever.
    """

    name: str
    world_size: int
    code: FindingCode
    ranks: tuple[int, ...]
    says: tuple[str, ...] = ()
    severity: Severity = Severity.ERROR
    status: ExitCode = ExitCode.FINDINGS
    besides: frozenset[str] = frozenset()
    no_majority: bool = False
    blocked: tuple[int, ...] = ()

    @property
    def directory(self) -> Path:
        raise NotImplementedError

    @property
    def program(self) -> Program:
        return Program(path=self.directory / "bug.py")

    @property
    def twin(self) -> Program:
        return Program(path=self.directory / "fixed.py")


@dataclass(frozen=True, kw_only=True)
class Bug(Case):
    """A class of bugs."""

    @property
    def directory(self) -> Path:
        return BUGS / self.name


@dataclass(frozen=True, kw_only=True)
class Report(Case):
    """A reproduction of a publicly reported bug. `at` is the report's path on GitHub."""

    at: str

    @property
    def directory(self) -> Path:
        return REPORTS / self.name
