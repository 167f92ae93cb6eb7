"""What a case of this suite declares: a program in which ranks do not agree, and what must be found of it."""

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
    """A program's file. A line that ends with `# BUG` is where the bug must be found, one with `# PEER` is the other side of it."""

    path: Path

    @property
    def story(self) -> str:
        """What it does, and what is wrong with that, if anything is."""
        docstring = ast.get_docstring(ast.parse(self.path.read_text()))
        assert docstring, f"{self.path} has no docstring"
        return " ".join(docstring.split())

    @property
    def code(self) -> list[str]:
        """Its lines without the docstring and the marks."""
        _, text = self.path.read_text().split('"""\n', maxsplit=1)
        return [line.removesuffix(BUG_MARK).removesuffix(PEER_MARK) for line in text.splitlines()]

    def places(self, mark: str) -> list[str]:
        """The marked lines, as findings name them."""
        lines = self.path.read_text().splitlines()
        return [f"{self.path.name}:{number}" for number, line in enumerate(lines, start=1) if line.endswith(mark)]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A program, and the one finding that it must yield; `says` are words that tell the cause. Errors apart from it there may be none.

    `besides` are codes of warnings that are true as well. Where there is `no_majority`, whom the finding names is a convention.
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


@dataclass(frozen=True, kw_only=True)
class Bug(Case):
    """A class of bugs: a program that has it, and its twin that does not."""

    @property
    def program(self) -> Program:
        return Program(path=BUGS / self.name / "bug.py")

    @property
    def twin(self) -> Program:
        return Program(path=BUGS / self.name / "fixed.py")


@dataclass(frozen=True, kw_only=True)
class Report(Case):
    """A bug that somebody has reported in public, reproduced. `at` is the report's path on GitHub."""

    at: str

    @property
    def program(self) -> Program:
        return Program(path=REPORTS / f"{self.name}.py")
