"""A case of the compatibility suite, and the permitted differences between a run on GPUs and a run over gloo."""

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.oracles.programs import CallIdentity, installed_torch

PROGRAMS = Path(__file__).parent / "programs"

Operations = Mapping[str, int]
"""How often a rank issues each operation."""


@dataclass(frozen=True, kw_only=True)
class OnlyOnCuda:
    """Calls that a program issues on CUDA and not on the CPU, and why. Recognised calls are excluded from the comparison with gloo."""

    why: str
    recognise: Callable[[CallIdentity], bool]


@dataclass(frozen=True, kw_only=True)
class OtherOnCuda:
    """Calls for which torch selects another operation on CUDA than on the CPU, and why. `translate` turns the CPU's call into CUDA's."""

    why: str
    translate: Callable[[CallIdentity], CallIdentity]


RANDOM_STATE = OnlyOnCuda(
    why="the first random operation on a DTensor broadcasts rank 0's random state",
    recognise=lambda call: (call[0], call[2], call[3]) == ("broadcast", "uint8", ((16,),)),
)


def into_one_tensor(call: CallIdentity) -> CallIdentity:
    """An all_gather as the all_gather_into_tensor of the same."""
    op, group, dtype, inputs, outputs = call
    if op != "all_gather" or set(outputs) != set(inputs):
        return call
    return ("all_gather_into_tensor", group, dtype, inputs, ((sum(size for (size,) in outputs),),))


FLAT_PARAMETERS = OtherOnCuda(why="FSDP gathers into one tensor, on the CPU into a list of its parts", translate=into_one_tensor)

NO_OPTIMIZER_STEP = frozenset({"no-optimizer-step"})
"""The finding for a program that only communicates."""


@dataclass(frozen=True, kw_only=True)
class NotOnGloo:
    """Why gloo cannot run a program, and its error message."""

    why: str
    says: str


@dataclass(frozen=True, kw_only=True)
class Case:
    """One program, how to run it, and what it must issue.

    `program` is a file below programs/ without its `.py`; `{directory}` in an argument is an empty directory for the run.
    `operations` are those of every rank, or of each rank in turn; `findings` are the codes of the report's findings, each once.
    `operations_from_2_15` are those under torch 2.15 and later, where torch itself communicates differently there.
    `steps` limits a program that trains longer; by default programs run to their end, as under torchrun.
    """

    program: str
    world_size: int
    operations: Operations | tuple[Operations, ...]
    operations_from_2_15: Operations | tuple[Operations, ...] | None = None
    args: tuple[str, ...] = ()
    variant: str = ""
    mesh: str | None = None
    steps: int = 1000
    findings: frozenset[str] = field(default_factory=frozenset)
    only_on_cuda: tuple[OnlyOnCuda, ...] = ()
    other_on_cuda: tuple[OtherOnCuda, ...] = ()
    not_on_gloo: NotOnGloo | None = None
    other_before_2_13: str = ""
    """Why torch before 2.13 issues other calls than those declared."""
    not_on_gloo_before_2_13: str = ""
    """Why gloo cannot run the program under torch before 2.13."""
    fails_before_2_13: str = ""
    """Why the program itself fails under torch before 2.13."""

    @property
    def id(self) -> str:
        """`area/program`, and which of several runs of it."""
        return f"{self.program}-{self.variant}" if self.variant else self.program

    @property
    def path(self) -> Path:
        return PROGRAMS / f"{self.program}.py"

    @property
    def feature(self) -> str:
        """The first line of the program's docstring."""
        docstring = ast.get_docstring(ast.parse(self.path.read_text()))
        assert docstring, f"{self.path} has no docstring"
        return docstring.splitlines()[0]

    def operations_of(self, rank: int) -> Operations:
        """The operations of a rank under the installed torch."""
        later = self.operations_from_2_15
        operations = self.operations if later is None or installed_torch() < (2, 15) else later
        return operations[rank] if isinstance(operations, tuple) else operations
