"""StepTime: what a timeline says of a step: how long it takes, what it is spent on, what it waits for, what could be gained."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from fakerun.analysis.time.costs import Basis, OperationKind
from fakerun.call_site import CallSite


class TimeKind(StrEnum):
    """What a moment of a rank's step is spent on; the first that applies."""

    COMPUTE = "compute"
    """A kernel of an operation runs, on any stream; without what `OPTIMIZER` and `CONTENTION` have."""
    OPTIMIZER = "optimizer"
    """A kernel of the optimizer's step runs."""
    CONTENTION = "contention"
    """Kernels run longer because communication occupies multiprocessors."""
    EXPOSED_COMMUNICATION = "exposed communication"
    """No kernel runs, and a call transfers data."""
    BUBBLE = "bubble"
    """Nothing runs, and a point-to-point call waits for its peer: the pipeline is empty here."""
    WAITING = "waiting for other ranks"
    """Nothing runs, and a collective waits for members that have not arrived."""
    HOST = "host"
    """Nothing runs and no call is there: the host has not issued what comes next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisTime:
    """The communication of one rank in groups with one label, in seconds of the step.

    `seconds` are those of its calls, from their last member's arrival to their end: `exposed_s` and `hidden_s` together. Hidden is what
    runs beside kernels, or beside other calls that are counted as exposed. `waiting_s` is waiting for other members while nothing runs.
    """

    label: str
    calls: int
    seconds: float
    exposed_s: float
    waiting_s: float
    gain_s: float | None = None
    """How much shorter the step would be if these calls took no time; None if it was not asked for."""

    @property
    def hidden_s(self) -> float:
        return self.seconds - self.exposed_s


@dataclass(frozen=True, slots=True, kw_only=True)
class PathEntry:
    """Time on the critical path, of all that has the same kind, module and line; the longest are what to make shorter.

    `rank` is the representative of the class. `label` is that of the group, for communication.
    """

    kind: TimeKind
    seconds: float
    count: int
    rank: int
    name: str
    """The operation without its arguments, the communication operation, or "host"."""
    label: str | None = None
    module: str | None = None
    call_site: CallSite | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RankStepTime:
    """The step of one class of ranks. The seconds of `kinds` add up to `seconds`, in which every kind has an entry."""

    representative: int
    ranks: tuple[int, ...]
    seconds: float
    kinds: Mapping[TimeKind, float]
    communication: tuple[AxisTime, ...]
    """By label, those with most exposed time first."""
    kernel_s: Mapping[OperationKind, float]
    """Seconds of kernels by what they do; kernels of several streams may run at the same time."""
    module_s: Mapping[str, float]
    """Seconds of kernels by module."""
    basis_s: Mapping[Basis, float]
    """Seconds of kernels by what their costs are taken from."""
    call_basis_s: Mapping[Basis, float]
    """Seconds of calls by what their costs are taken from."""
    flops: int
    """Of the step, as the kernels execute them: see `OperationCost`."""
    full_flops: int
    unpriced: tuple[str, ...] = ()
    """Names of operations of which no cost is known, if there are any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTime:
    """A step of the job. `slowest` is the class of ranks that takes longest; `seconds` and the critical path are those of its step."""

    step: int
    is_first_step: bool
    """The job completed only one step: what is done once, as making the optimizer's states, is in it."""
    seconds: float
    slowest: RankStepTime
    ranks: tuple[RankStepTime, ...]
    critical_path: tuple[PathEntry, ...]
    """The longest first; they add up to `seconds`."""
    gains_s: Mapping[str, float] = field(default_factory=dict)
    """By label of groups how much shorter the step would be if their calls took no time."""
    unknown_members: tuple[str, ...] = ()
    """As of `Timeline`."""
