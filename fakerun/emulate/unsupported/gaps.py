"""The list of what is not emulated. Errors, findings and docs/not_emulated.md are made from it.

A gap is never silent and never a guess. Either the run ends with an error that names the API, the reason and a workaround, or the script
continues with an answer that is stated here and a finding for the line that asked. A test compares the page with this list. Free of
torch, so that the list can be shown without loading it.
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
    """One thing that is not emulated. `name` is an API's dotted name, or a description of what is missing."""

    name: str
    reason: str
    workaround: str = SKIP_IT
    answer: Any = _ENDS_THE_RUN
    """What a call returns instead; without one, the run ends."""
    shown: str = ""
    """The answer as a sentence, where its `repr` is not enough."""
    code: FindingCode = FindingCode.NOT_EMULATED
    """What the finding is that says so."""

    @property
    def goes_on(self) -> bool:
        """Whether the script gets a substitute and continues."""
        return bool(self.shown) or self.answer is not _ENDS_THE_RUN

    @property
    def given(self) -> str:
        """What the script gets instead, as a sentence."""
        return self.shown or f"It gives {self.answer!r}."

    def error(self, what: str = "", reason: str = "") -> EmulationGapError:
        """The error that ends the run; `what` and `reason` where they are more specific."""
        return EmulationGapError(f"{what or self.name} is not emulated: {reason or self.reason}. {self.workaround}")

    def report(self, findings: FindingSink, what: str = "") -> None:
        """Report that the script got a substitute."""
        message = f"{what or self.name} is not emulated: {self.reason}. {self.given}"
        findings.note(self.code, message, hint=self.workaround, subject=self.name)


_SENSOR = "it reads a sensor of the device"
_PROCESSES = "it asks the driver about all processes"
_LOG_SOMETHING_ELSE = "Do not log it in a dry run, or log torch.cuda.memory_allocated(), which is simulated."

CUSTOM_KERNEL = Gap(
    name="An operator without shape rules (a custom CUDA kernel)",
    reason="the shape of the result is known only by running it",
    workaround='Register a shape rule (`torch.library.register_fake("namespace::name")`), which torch.compile needs too, or skip the call.',
)
UNKNOWN_SHAPE = Gap(
    name="A result whose shape depends on the values of a large device tensor, such as `nonzero` of an activation",
    reason="a dry run does not compute those values",
)
NO_DEVICE = Gap(name="An operator that torch cannot simulate", reason="torch cannot run it without the device")
NATIVE_READ = Gap(name="Native code that reads a device tensor's memory", reason="tensors on the device have no data in a dry run")
NUMPY_VIEW = Gap(name="A numpy view of a large host tensor", reason="the tensor has no data in a dry run")
SPARSE = Gap(
    name="A sparse tensor on the device",
    reason="its size depends on values that a dry run does not compute",
    workaround="Make it dense in a dry run, for example with nn.Embedding(..., sparse=False).",
)
LAZY_MODULE = Gap(
    name="Moving a lazy module (such as `nn.LazyLinear`) to the device before its first forward",
    reason="a parameter without a shape cannot be simulated",
    workaround="Use the module with explicit sizes, or run the first forward on the host.",
)
MAP_LOCATION = Gap(
    name="`torch.load` with a map_location function that moves storages",
    reason="there is no storage to move",
    workaround="Pass the device instead: torch.load(..., map_location='cuda:0').",
)
FILE_OF_ANOTHER_RANK = Gap(
    name="Reading a file that a rank which is not simulated would have written, beside checkpoints that are not written",
    reason="checkpoints are not written in a dry run, and a rank that is not simulated leaves no stand-in for what it saves",
    workaround="Simulate that rank too (--ranks all, or a list).",
)
FILE_WAITED_FOR = Gap(
    name="Waiting for a file that no simulated rank writes",
    reason="the script has looked for it 100 times, with pauses, and no simulated rank is left that could write it",
    workaround="Simulate the rank that writes it too (--ranks all, or a list); what other programs write must be there before the dry run.",
)
KEY_OF_ANOTHER_RANK = Gap(
    name="Waiting for a key of a store (`TCPStore`, `HashStore`, the default group's store) that another rank sets",
    reason="in a dry run a store holds only the keys that the rank itself sets",
    workaround="Exchange the value with a collective, such as broadcast_object_list, or skip the wait in a dry run.",
)
DEVICE_FIGURES = Gap(
    name="A field of `torch.cuda.get_device_properties()` that is unknown for the accelerator (clocks or `memory_bus_width`, for some)",
    reason="the vendor does not publish it, or boards of the same name differ",
    workaround="Specify it: --hardware h100-80gb,clock=1980MHz,memory_clock=2619MHz,memory_bus_width=5120bit.",
    answer=1,
)
EVENT_HANDLES = Gap(name="torch.cuda.Event.ipc_handle", reason="there is no event for another process to open")
RUNTIME = Gap(
    name="torch.cuda.cudart",
    reason="it returns the CUDA runtime itself; fakerun has only the profiler's start and stop, host registration and cudaMemGetInfo",
)
TRITON_KERNEL = Gap(
    name="What a Triton kernel computes",
    reason="kernels are not run",
    workaround="Values that the script reads from the results are placeholders. Shapes and memory are exact.",
    shown="A launch does nothing, and the values of all its tensor arguments become unknown.",
)
COMPILED_GRAPHS = Gap(
    name="The memory pool of CUDA graphs that `torch.compile` captures (`mode='reduce-overhead'` or `'max-autotune'`, option "
    "`triton.cudagraphs`, `backend='cudagraphs'`)",
    reason="compiled code runs eagerly, and is not captured",
    workaround="Allow for it: on a GPU what the graphs allocate stays reserved for them between calls, with copies of inputs whose "
    "addresses change.",
    shown="What compiled code allocates comes from the default pool.",
)
_OTHER_MEMORY = "it maps the memory of the other ranks' devices"
SYMMETRIC_OPERATOR = Gap(
    name="An operator of symmetric memory (`torch.ops.symm_mem`)",
    reason=_OTHER_MEMORY,
    workaround="Disable it in a dry run: ordinary collectives move the same bytes.",
)
FUSED_COMMUNICATION = Gap(
    name="Overlap of matrix products with collectives (`torch.ops.symm_mem.fused_all_gather_matmul` and similar operators, and "
    "`torch._inductor.config._micro_pipeline_tp`)",
    reason=_OTHER_MEMORY,
    workaround="Disable async tensor parallelism to record the collectives at the script's own lines: they move the same bytes.",
    shown="The collective and the product run one after the other, and the collective is recorded.",
    code=FindingCode.NOT_OVERLAPPED,
)
_ONE_RANK = "what the other ranks take of it is not simulated"
NVML_FUNCTION = Gap(
    name="A function of NVML (`libnvidia-ml.so`, which pynvml loads) other than those for the number, the names and the memory of devices",
    reason="it asks the driver",
)
NVML_MEMORY = Gap(
    name="The memory in use that NVML (`pynvml`) and `torch.cuda.device_memory_used` give",
    reason=_ONE_RANK,
    workaround=_LOG_SOMETHING_ELSE,
    shown="It counts what this rank has reserved, and the least that its CUDA context takes.",
)
NVML_SENSOR = Gap(name="A sensor that NVML reads (`pynvml`)", reason=_SENSOR, workaround=_LOG_SOMETHING_ELSE, shown="It gives 1.")
NVML_PROCESSES = Gap(
    name="The list of running processes of NVML (`pynvml`) and of `torch.cuda.list_gpu_processes`",
    reason=_PROCESSES,
    workaround=_LOG_SOMETHING_ELSE,
    shown="It has this rank's process, if that uses the device.",
)
HOST_STATISTICS = Gap(
    name="The counters of `torch.cuda.host_memory_stats`",
    reason="page-locked memory needs a driver, and is ordinary memory here",
    workaround="Do not log them in a dry run.",
    shown="They are 0.",
)
NVIDIA_SMI = Gap(
    name="The command `nvidia-smi`, other than `-L` and `--query-gpu=... --format=csv`, alone in its command line",
    reason="it asks the driver",
    workaround=f"Use the functions of torch.cuda instead. {SKIP_IT}",
)
NVIDIA_SMI_FIGURES = Gap(
    name="The memory in use and the sensors that `nvidia-smi` shows",
    reason="it asks the driver about all processes",
    workaround=_LOG_SOMETHING_ELSE,
    shown="Memory is what this rank has reserved, with the least of its CUDA context, and sensors give 1.",
)
PROCESS_AS_RANK = Gap(
    name="`multiprocessing.Process` or `os.fork`, where the child process initialises torch.distributed",
    reason="fakerun starts the ranks itself, and this process is none of them",
    workaround="Start the ranks with torchrun, or with torch.multiprocessing.spawn(function, nprocs=N): fakerun then calls the function "
    "in the rank's own process.",
)
UNDESCRIBED = (
    *(CUSTOM_KERNEL, UNKNOWN_SHAPE, NO_DEVICE, NATIVE_READ, NUMPY_VIEW, SPARSE, LAZY_MODULE, MAP_LOCATION),
    *(FILE_OF_ANOTHER_RANK, FILE_WAITED_FOR, KEY_OF_ANOTHER_RANK),
    *(RUNTIME, DEVICE_FIGURES, EVENT_HANDLES, HOST_STATISTICS, TRITON_KERNEL, COMPILED_GRAPHS),
    *(SYMMETRIC_OPERATOR, FUSED_COMMUNICATION, PROCESS_AS_RANK),
    *(NVML_FUNCTION, NVML_MEMORY, NVML_SENSOR, NVML_PROCESSES, NVIDIA_SMI, NVIDIA_SMI_FIGURES),
)
"""Gaps that other modules raise or report."""

APIS = (
    *(
        Gap(name=f"torch.cuda.{name}", reason=_SENSOR, workaround=_LOG_SOMETHING_ELSE, answer=1)
        for name in ("clock_rate", "memory_usage", "power_draw", "temperature", "utilization")
    ),
    *(Gap(name=f"torch.cuda.caching_allocator_{name}", reason="it returns device memory by its address") for name in ("alloc", "delete")),
    Gap(name="torch.distributed.rpc.init_rpc", reason="remote procedure calls need the other ranks' processes"),
    *(
        Gap(
            name=f"torch.distributed._symmetric_memory.{name}",
            reason=_OTHER_MEMORY,
            workaround="Disable it (for example async tensor parallelism) in a dry run: ordinary collectives move the same bytes.",
        )
        for name in ("empty", "rendezvous", "get_symm_mem_workspace")
    ),
)
"""Gaps that are APIs of torch by their dotted names: `missing_apis` replaces them."""


def all_gaps() -> tuple[Gap, ...]:
    """Everything that is not emulated, in the order in which the page has it."""
    return tuple(sorted((*UNDESCRIBED, *APIS), key=lambda gap: gap.goes_on))
