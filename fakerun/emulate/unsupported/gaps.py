"""What is not emulated: the one list of it, from which the script is told, the report, and docs/not_emulated.md.

A gap is never silent and never a guess. Either the run ends with an error that names the API, why, and a way round; or the script goes on
with an answer that is stated here, and the report has a finding at the line that asked. The page has these entries, word for
word; a test holds the two together. Free of torch, for whoever shows the list.
"""

from dataclasses import dataclass
from typing import Any

from fakerun.errors import EmulationGapError
from fakerun.records.finding_code import FindingCode
from fakerun.records.observer import FindingSink

SKIP_IT = "Skip the call in a dry run, for example behind an environment variable that the job sets."

_ENDS_THE_RUN = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """One thing that is not emulated. `name` is an API's dotted name, or says in words what is missing."""

    name: str
    reason: str
    workaround: str = SKIP_IT
    answer: Any = _ENDS_THE_RUN
    """What a call returns instead; without one, the run ends."""
    shown: str = ""
    """The answer in words, where its `repr` does not do."""

    @property
    def goes_on(self) -> bool:
        """Whether the script is given something instead, and goes on."""
        return bool(self.shown) or self.answer is not _ENDS_THE_RUN

    @property
    def given(self) -> str:
        """What the script gets instead, in words."""
        return self.shown or f"It gives {self.answer!r}."

    def error(self, what: str = "", reason: str = "") -> EmulationGapError:
        """The error that ends the run; `what` and `reason` where this call's are more exact."""
        return EmulationGapError(f"{what or self.name} is not emulated: {reason or self.reason}. {self.workaround}")

    def report(self, findings: FindingSink, what: str = "") -> None:
        """Report that the script was given something else."""
        message = f"{what or self.name} is not emulated: {self.reason}. {self.given}"
        findings.note(FindingCode.NOT_EMULATED, message, hint=self.workaround, subject=self.name)


_SENSOR = "it reads a sensor of the device"
_PROCESSES = "it asks the driver about all processes"
_LOG_SOMETHING_ELSE = "Leave it out of what a dry run logs; torch.cuda.memory_allocated() is simulated."

CUSTOM_KERNEL = Gap(
    name="An operator without shape rules (a custom CUDA kernel)",
    reason="nothing tells the shape of the result without running it",
    workaround='Give yours a `torch.library.register_fake("namespace::name")`, which torch.compile needs too, or skip the call.',
)
UNKNOWN_SHAPE = Gap(
    name="A result whose shape depends on the values of a large device tensor, such as `nonzero` of an activation",
    reason="nobody computed those values",
)
NO_DEVICE = Gap(name="An operator that torch cannot simulate", reason="torch cannot run it without the device")
NATIVE_READ = Gap(name="Native code that reads a device tensor's memory", reason="tensors on the device have no data in a dry run")
NUMPY_VIEW = Gap(name="numpy's view of a large host tensor", reason="it has no data in a dry run")
SPARSE = Gap(
    name="A sparse tensor on the device",
    reason="how much it holds depends on values that nobody computed",
    workaround="Make it dense in a dry run, for example with nn.Embedding(..., sparse=False).",
)
LAZY_MODULE = Gap(
    name="Moving a lazy module (`nn.LazyLinear` and its like) before its first forward",
    reason="a parameter without a shape cannot be simulated",
    workaround="Give the sizes, or run the first forward on the host.",
)
MAP_LOCATION = Gap(
    name="`torch.load` with a map_location function that moves storages",
    reason="there is no storage to move",
    workaround="Give the device itself: torch.load(..., map_location='cuda:0').",
)
DEVICE_FIGURES = Gap(
    name="A figure of `torch.cuda.get_device_properties()` that is not known of the accelerator (of some: the clocks, `memory_bus_width`)",
    reason="nobody published it, or boards of one name differ",
    workaround="Give it: --hardware h100-80gb,clock=1980MHz,memory_clock=2619MHz,memory_bus_width=5120bit.",
    answer=1,
)
EVENT_HANDLES = Gap(name="torch.cuda.Event.ipc_handle", reason="there is no event that another process could open")
MEMORY_HISTORY = Gap(
    name="A memory snapshot (`torch.cuda.memory_snapshot`, `_snapshot`, `_dump_snapshot`)",
    reason="the allocator's segments and their history are not simulated",
    workaround="torch.cuda.memory_stats() is simulated, and the report shows what is alive at the peak.",
    shown="A snapshot is empty, and no file is written.",
)
RUNTIME = Gap(
    name="torch.cuda.cudart",
    reason="it hands out the CUDA runtime itself, of which there is the profiler's start and stop, host registration and cudaMemGetInfo",
)
TRITON_KERNEL = Gap(
    name="What a Triton kernel computes",
    reason="kernels are not run",
    workaround="Values that the script reads of its results are neutral ones; shapes and memory are right.",
    shown="A launch does nothing, and what the kernel may have written is unknown.",
)
CUDA_GRAPH = Gap(
    name="The memory pool of a CUDA graph (`torch.cuda.graph`, `CUDAGraph`)",
    reason="what is captured runs once, eagerly, while it is captured, and frees its memory as usual",
    workaround="Leave room for it: on a GPU what the graph used stays reserved for it between replays.",
    shown="A replay runs nothing, and counts the collectives and optimizer steps of the capture again.",
)
_OTHER_MEMORY = "it maps the memory of the other ranks' devices"
SYMMETRIC_OPERATOR = Gap(
    name="An operator of symmetric memory (`torch.ops.symm_mem`)",
    reason=_OTHER_MEMORY,
    workaround="Turn it off in a dry run: ordinary collectives carry as much.",
)
FUSED_COMMUNICATION = Gap(
    name="The overlap of matrix products with collectives (`torch.ops.symm_mem.fused_all_gather_matmul` and its kin)",
    reason=_OTHER_MEMORY,
    workaround="Turn async tensor parallelism off to see the collectives where the script has them: they carry as much.",
    shown="Collective and product run one after the other, and the collective is recorded.",
)
UNDESCRIBED = (
    *(CUSTOM_KERNEL, UNKNOWN_SHAPE, NO_DEVICE, NATIVE_READ, NUMPY_VIEW, SPARSE, LAZY_MODULE, MAP_LOCATION),
    *(RUNTIME, DEVICE_FIGURES, EVENT_HANDLES, MEMORY_HISTORY, TRITON_KERNEL, CUDA_GRAPH),
    *(SYMMETRIC_OPERATOR, FUSED_COMMUNICATION),
)
"""Gaps that are met in the middle of other work, and raised there."""

APIS = (
    *(
        Gap(name=f"torch.cuda.{name}", reason=_SENSOR, workaround=_LOG_SOMETHING_ELSE, answer=1)
        for name in ("clock_rate", "memory_usage", "power_draw", "temperature", "utilization")
    ),
    Gap(name="torch.cuda.device_memory_used", reason=_PROCESSES, workaround=_LOG_SOMETHING_ELSE, answer=1),
    Gap(name="torch.cuda.list_gpu_processes", reason=_PROCESSES, workaround=_LOG_SOMETHING_ELSE, answer="no processes are running"),
    *(Gap(name=f"torch.cuda.caching_allocator_{name}", reason="it hands out device memory by its address") for name in ("alloc", "delete")),
    Gap(name="torch.distributed.rpc.init_rpc", reason="remote procedure calls need the other processes"),
    *(
        Gap(
            name=f"torch.distributed._symmetric_memory.{name}",
            reason=_OTHER_MEMORY,
            workaround="Turn it (async tensor parallelism, for one) off in a dry run: ordinary collectives carry as much.",
        )
        for name in ("empty", "rendezvous", "get_symm_mem_workspace")
    ),
)
"""Gaps that are APIs of torch by their dotted names: `missing_apis` puts a stand-in there."""


def all_gaps() -> tuple[Gap, ...]:
    """Everything that is not emulated, in the order in which the page has it."""
    return tuple(sorted((*UNDESCRIBED, *APIS), key=lambda gap: gap.goes_on))
