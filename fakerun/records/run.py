"""RankRecord and RunRecord: everything recorded of one simulated rank, and of all simulated ranks of a run."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from fakerun.call_site import CallSite
from fakerun.mesh import Mesh
from fakerun.records.collective import CollectiveRecord
from fakerun.records.device_program import DeviceProgram
from fakerun.records.findings import Finding
from fakerun.records.rank_function import RankTest, UnfollowedUse

UNRECORDED_STATUS = 74
"""What the process of a rank ends with that could not write its record (EX_IOERR of sysexits.h)."""


class FailureKind(StrEnum):
    """How a rank failed."""

    EXCEPTION = "exception"
    """The script raised (KeyboardInterrupt raised by the script itself included)."""
    EXIT = "exit"
    """The script ended itself with a non-zero status: `sys.exit(3)`, `os._exit(3)`."""
    SIGNAL = "signal"
    """The process was killed by a signal."""
    TIMEOUT = "timeout"
    GAP = "gap"
    """The script needs an emulation that fakerun lacks."""
    USAGE = "usage"
    """The job does not fit the script: its mesh has another number of axes."""
    INTERRUPTED = "interrupted"
    """The user stopped fakerun (Ctrl-C)."""
    INTERNAL = "internal"
    """fakerun itself failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessFailure:
    """Why a rank did not finish. `traceback` is the script's own: it starts in the user's file."""

    kind: FailureKind
    exception: str | None
    """Qualified name of the exception's class; None where there was none."""
    message: str
    traceback: str = ""
    exit_code: int = 1
    """As a shell reports it: 128 + the number for a signal."""
    call_site: CallSite | None = None
    placeholder_reads: tuple[CallSite, ...] = ()
    """Lines that had read values which nobody computed: the failure may follow from them. Empty where it is known to, or nothing had."""

    @property
    def summary_line(self) -> str:
        """What happened, like the last line of a Python traceback: `KeyError: 1`; the message if the script raised no exception."""
        message = self.message.strip().partition("\n")[0]
        if self.kind in (FailureKind.GAP, FailureKind.USAGE, FailureKind.INTERRUPTED) or self.exception is None:
            return message
        exception = message if message == self.exception else f"{self.exception}: {message}"
        return f"internal error in fakerun, please report it: {exception}" if self.kind is FailureKind.INTERNAL else exception


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked:
    """Where a rank waits for ever: in one of its communication calls, whose counterpart others never issue, or for a key of a store.

    `call_site` is the line that waits; an asynchronous call may have been issued elsewhere.
    """

    call: int | None
    """The `seq` of the call; None where it waits for a key."""
    waits_for: tuple[int, ...]
    """The ranks that never issue their part of the call, ascending."""
    key: str | None = None
    """The key that no rank sets."""
    call_site: CallSite | None = None
    stack: str = ""
    """The calls that led there, in the form of a traceback."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exited:
    """The script ended itself, with status 0, at `call_site`: `exit`, `sys.exit`, `os._exit`."""

    call_site: CallSite | None


Ending: TypeAlias = ProcessFailure | Blocked | Exited | None
"""How a rank ended; None if it came to the end of its script, or was stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupCreation:
    """Groups that one line creates in sequence (`new_group`, `split_group`, a DeviceMesh): `count` groups of the same size.

    `callers` are the ranks that must create the same groups in the same order, members or not; None is all ranks of the world.
    `ranks` has the global ranks of all groups, group by group; `before` is the `seq` of the first communication call after them.
    """

    ranks: tuple[int, ...]
    before: int
    count: int = 1
    callers: tuple[int, ...] | None = None
    call_site: CallSite | None = None

    def each(self) -> Iterator[tuple[int, ...]]:
        """The ranks of each group."""
        size = len(self.ranks) // self.count
        return (self.ranks[i * size : (i + 1) * size] for i in range(self.count))


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInput:
    """Calls, in one training step, of a model that they may train, each with whole numbers of this shape: token ids, as a rule.

    `model` numbers the models that the rank called so, from 0.
    """

    step: int
    model: int
    shape: tuple[int, ...]
    calls: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RankRecord:
    """One simulated rank: its mesh, what it communicated, what it asked of its devices, how it ended.

    `mesh` is the one in effect (`mesh_in_effect`), None if there was none. `steps` counts completed optimizer steps. `devices` are the
    CUDA indices of the devices that the rank used, on its node, in order of first use: blocks and collectives refer to them by ordinal.
    """

    rank: int
    mesh: Mesh | None = None
    steps: int = 0
    collectives: Sequence[CollectiveRecord] = ()
    """In order. `records.schedule.calls_of` returns them in a form that ranks share."""
    group_creations: tuple[GroupCreation, ...] = ()
    program: DeviceProgram = field(default_factory=DeviceProgram)
    devices: tuple[int, ...] = ()
    findings: tuple[Finding, ...] = ()
    rank_tests: tuple[RankTest, ...] = ()
    """What the program asked of functions of the rank, each once, in order; only where the job selects its ranks (`--ranks auto`)."""
    unfollowed_uses: tuple[UnfollowedUse, ...] = ()
    failure: ProcessFailure | None = None
    blocked: Blocked | None = None
    """Where it waited for ever; None if it failed or reached its end."""
    stopped_at: CallSite | None = None
    """The line that took the last optimizer step of the job's, where the script was stopped; None if it ended by itself."""
    exited_at: CallSite | None = None
    """The line at which the script ended itself with status 0; None if it ended in another way."""
    torch_version: str | None = None
    """None if the process died before it recorded the version."""
    memory_variables: Mapping[str, str] = field(default_factory=dict)
    """Variables of its environment that decide how much memory its devices need, as they were when it first used one."""
    model_inputs: tuple[ModelInput, ...] = ()
    """In order of the first call; what follows the last completed step is of a step that was not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AssumedRanks:
    """Ranks that were not simulated but are assumed to do what the simulated rank `representative` does."""

    ranks: tuple[int, ...]
    representative: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """All simulated ranks of one job, in order of rank, and the versions that produced them."""

    fakerun_version: str
    torch_version: str | None
    ranks: tuple[RankRecord, ...]
    is_complete: bool = True
    """Whether the run completed; if it was interrupted, nothing is assumed about ranks that were not simulated."""
    added: tuple[int, ...] = ()
    """Ranks that were simulated only because others waited for what they send."""
    assumed: tuple[AssumedRanks, ...] = ()
    mesh: Mesh | None = None
    """The mesh along whose axes ranks were assumed to match; None if no rank was assumed."""
    findings: tuple[Finding, ...] = ()
    """Findings about the selection of ranks."""
