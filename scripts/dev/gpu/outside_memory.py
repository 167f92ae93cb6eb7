"""Measures what lives on a GPU outside torch's caching allocator, and writes down what torch and the driver say about memory.

    python scripts/dev/gpu/outside_memory.py --out outside.json.gz --seconds 90

It needs torch and a GPU; nothing of fakerun. Each item runs in a fresh process, which notes after each step: free and total memory of the
device (cudaMemGetInfo), what NVML says of it, what the allocator reserved, and what NVML says of processes. One process at a time has the
device, unless an item says otherwise.
"""

# ruff: noqa: SLF001 - what torch calls private answers what nothing else does

import argparse
import contextlib
import ctypes
import gzip
import io
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

MIB = 1024**2
GIB = 1024**3


def write(path: Path, content: object) -> None:
    """Write it whole or not at all, compressed if the name says so."""
    text = json.dumps(content, separators=(",", ":"), default=str).encode()
    beside = path.with_name(path.name + ".part")
    beside.write_bytes(gzip.compress(text, mtime=0) if path.suffix == ".gz" else text)
    beside.replace(path)


class _Memory(ctypes.Structure):
    _fields_ = [(name, ctypes.c_ulonglong) for name in ("total", "free", "used")]


class _MemoryV2(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint), *((name, ctypes.c_ulonglong) for name in ("total", "reserved", "free", "used"))]


class _Process(ctypes.Structure):
    _fields_ = [("pid", ctypes.c_uint), ("used", ctypes.c_ulonglong), ("instance", ctypes.c_uint), ("compute", ctypes.c_uint)]


class Nvml:
    """The driver's library, asked through ctypes, so that no context is made by asking."""

    def __init__(self) -> None:
        self.library = ctypes.CDLL("libnvidia-ml.so.1")
        self.library.nvmlInit_v2()
        self.handle = ctypes.c_void_p()
        self.library.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(self.handle))

    def memory(self) -> dict[str, Any]:
        first, second = _Memory(), _MemoryV2()
        second.version = ctypes.sizeof(_MemoryV2) | 2 << 24
        codes = (
            self.library.nvmlDeviceGetMemoryInfo(self.handle, ctypes.byref(first)),
            self.library.nvmlDeviceGetMemoryInfo_v2(self.handle, ctypes.byref(second)),
        )
        return {"codes": codes, "v1": _values(first), "v2": _values(second), "processes": self.processes()}

    def processes(self) -> Any:
        count, found = ctypes.c_uint(16), (_Process * 16)()
        code = self.library.nvmlDeviceGetComputeRunningProcesses_v3(self.handle, ctypes.byref(count), found)
        return {"code": code, "found": [_values(process) for process in found[: count.value if code == 0 else 0]]}


def _values(structure: ctypes.Structure) -> dict[str, int]:
    return {name: int(getattr(structure, name)) for name, *_ in structure._fields_}


class Notes:
    """What an item saw, step by step."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.steps: list[dict[str, Any]] = []
        self.begin = time.perf_counter()
        try:
            self.nvml: Nvml | None = Nvml()
        except OSError:
            self.nvml = None

    def see(self, what: str, *, driver: bool = True, **more: Any) -> None:
        """Note a step. Without `driver` nothing is asked that would make a context."""
        step: dict[str, Any] = {"what": what, "s": round(time.perf_counter() - self.begin, 3), **more}
        if self.nvml is not None:
            step["nvml"] = self.nvml.memory()
        if driver:
            import torch

            torch.cuda.synchronize()
            step["free_and_total"] = torch.cuda.mem_get_info()
            step["reserved"] = torch.cuda.memory_reserved()
            step["allocated"] = torch.cuda.memory_allocated()
        self.steps.append(step)
        self.save()

    def attempt(self, what: str, function: Callable[[], Any], **options: Any) -> Any:
        """Do it, note its result if that can be written down, or its error."""
        try:
            result = function()
        except BaseException:
            self.see(what, error=traceback.format_exc(), **options)
            return None
        shown = result if isinstance(result, (int, float, str, list, dict, tuple)) else type(result).__name__
        self.see(what, result=shown, **options)
        return result

    def save(self) -> None:
        write(self.out, self.steps)


# -- items --------------------------------------------------------------------------------------------------------------------------


def context(notes: Notes) -> None:
    """From nothing to the first kernel, step by step."""
    notes.see("before torch", driver=False)
    import torch

    notes.see("torch imported", driver=False)
    notes.attempt("cuInit (device_count)", torch.cuda.device_count, driver=False)
    notes.attempt("torch.cuda.init()", torch.cuda.init, driver=False)
    notes.attempt("context (synchronize)", torch.cuda.synchronize)
    held = notes.attempt("first allocation", lambda: torch.empty(1, device="cuda"))
    notes.attempt("first kernel (zero_)", held.zero_)
    notes.attempt("second kernel (add)", lambda: held + 1)
    notes.attempt("copy to the host", held.cpu)
    notes.attempt("a stream", lambda: torch.cuda.Stream())
    notes.attempt("31 more streams", lambda: len([torch.cuda.Stream() for _ in range(31)]))
    notes.attempt("32 streams of high priority", lambda: len([torch.cuda.Stream(priority=-1) for _ in range(32)]))
    notes.attempt("an event", lambda: torch.cuda.Event(enable_timing=True).record())
    notes.attempt("pinned memory of 64 MiB", lambda: len(torch.empty(64 * MIB, dtype=torch.uint8, pin_memory=True)))
    notes.attempt("random numbers", lambda: float(torch.randn(1000, device="cuda").sum()))


def products(notes: Notes) -> None:
    """Products of cuBLAS and cuBLASLt, by data type."""
    import torch
    import torch.nn.functional as functional

    torch.ones(1, device="cuda")
    notes.see("first kernel")

    def product(dtype: "torch.dtype", size: int = 1024) -> None:
        left = torch.ones(size, size, device="cuda", dtype=dtype)
        torch.mm(left, left)

    for dtype in (torch.float32, torch.bfloat16, torch.float16, torch.float64):
        notes.attempt(f"mm {dtype}", partial(product, dtype))
    notes.attempt("mm bfloat16, larger", lambda: product(torch.bfloat16, 8192))
    ones = torch.ones(512, 512, device="cuda", dtype=torch.bfloat16)
    notes.attempt("linear with bias (cuBLASLt)", lambda: functional.linear(ones, ones, ones[0]))
    notes.attempt("bmm", lambda: torch.bmm(ones[None], ones[None]))
    notes.attempt("mm on another stream", lambda: _on_stream(torch, lambda: torch.mm(ones, ones)))
    weight = torch.ones(512, 512, device="cuda", requires_grad=True)
    notes.attempt("backward of a product", lambda: (weight @ weight).sum().backward())
    notes.attempt("scaled product of float8", lambda: _float8(torch))
    notes.attempt("linalg.inv (cuSOLVER)", lambda: torch.linalg.inv(torch.eye(64, device="cuda")))
    notes.attempt("fft", lambda: torch.fft.fft(torch.ones(1024, device="cuda")))
    notes.attempt("sparse product (cuSPARSE)", lambda: torch.eye(64, device="cuda").to_sparse() @ torch.ones(64, 64, device="cuda"))


def _float8(torch: Any) -> None:
    one = torch.ones((), device="cuda")
    left = torch.ones(512, 512, device="cuda").to(torch.float8_e4m3fn)
    torch._scaled_mm(left, left.t(), scale_a=one, scale_b=one, out_dtype=torch.bfloat16)


def _on_stream(torch: Any, function: Callable[[], Any]) -> None:
    with torch.cuda.stream(torch.cuda.Stream()):
        function()


def convolutions(notes: Notes) -> None:
    import torch

    torch.ones(1, device="cuda")
    notes.see("first kernel")
    images = torch.ones(8, 3, 224, 224, device="cuda")
    weight = torch.ones(64, 3, 7, 7, device="cuda", requires_grad=True)
    notes.see("inputs")
    result = notes.attempt("convolution, fp32", lambda: torch.conv2d(images, weight))
    notes.attempt("its backward", lambda: result.sum().backward())
    notes.attempt("convolution, bf16", lambda: torch.conv2d(images.bfloat16(), weight.detach().bfloat16()))
    torch.backends.cudnn.benchmark = True
    notes.attempt("convolution, benchmark", lambda: torch.conv2d(images[:4], weight.detach()))
    notes.attempt("batch norm", lambda: torch.nn.BatchNorm2d(3, device="cuda")(images))


def attention(notes: Notes) -> None:
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    torch.ones(1, device="cuda")
    notes.see("first kernel")
    query = torch.ones(2, 16, 2048, 64, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    notes.see("inputs")
    for name in ("FLASH_ATTENTION", "EFFICIENT_ATTENTION", "CUDNN_ATTENTION", "MATH"):

        def attend(name: str = name) -> Any:
            with sdpa_kernel(getattr(SDPBackend, name)):
                return torch.nn.functional.scaled_dot_product_attention(query, query, query, is_causal=True)

        result = notes.attempt(name, attend)
        if result is not None:
            notes.attempt(f"backward of {name}", result.sum().backward)
        del result


def many_kernels(notes: Notes) -> None:
    """Kernels of many operators, which lazy loading brings in one by one, or all at once with CUDA_MODULE_LOADING=EAGER."""
    import torch

    notes.see(f"CUDA_MODULE_LOADING={os.environ.get('CUDA_MODULE_LOADING')}")
    count = 0
    for dtype in (torch.float32, torch.bfloat16, torch.float64, torch.int64):
        values = torch.ones(64, 64, device="cuda").to(dtype)
        for name in (
            *("abs", "neg", "exp", "log", "sqrt", "rsqrt", "sin", "cos", "tanh", "sigmoid", "erf", "floor", "round", "relu", "sign"),
            *("sum", "prod", "mean", "std", "var", "norm", "max", "min", "argmax", "argmin", "any", "all", "cumsum", "cumprod"),
            *("sort", "topk", "softmax", "log_softmax", "unique", "nonzero", "tril", "triu", "flip", "median", "bincount", "erfinv"),
        ):
            arguments = {"cumsum": (0,), "cumprod": (0,), "topk": (3,), "softmax": (0,), "log_softmax": (0,), "flip": ((0,),)}
            with contextlib.suppress(RuntimeError, TypeError, AttributeError):
                getattr(torch, name)(values, *arguments.get(name, ()))
                count += 1
        notes.see(f"{count} kernels, with {dtype}")
    model = torch.nn.TransformerEncoderLayer(256, 4, batch_first=True, device="cuda")
    optimizer = torch.optim.AdamW(model.parameters())
    notes.attempt("a transformer layer's step", lambda: (model(torch.ones(4, 64, 256, device="cuda")).sum().backward(), optimizer.step()))


def nccl(notes: Notes) -> None:
    """Communicators of one rank."""
    import torch
    import torch.distributed as dist

    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(29000 + os.getpid() % 2000), "RANK": "0", "WORLD_SIZE": "1"}
    ones = torch.ones(1024, device="cuda")
    notes.see("first kernel", nccl=torch.cuda.nccl.version())
    notes.attempt("init_process_group", lambda: dist.init_process_group("nccl"))
    notes.attempt("all_reduce", lambda: dist.all_reduce(ones))
    notes.attempt("all_reduce, second", lambda: dist.all_reduce(ones))
    notes.attempt("barrier", dist.barrier)
    notes.attempt("all_gather", lambda: dist.all_gather_into_tensor(torch.empty_like(ones), ones))
    for number in range(2, 5):
        group = notes.attempt(f"group {number} made", lambda: dist.new_group([0]))
        notes.attempt(f"group {number}: all_reduce", partial(dist.all_reduce, ones, group=group))
    notes.attempt("all_reduce of 256 MiB", lambda: dist.all_reduce(torch.ones(64 * MIB, device="cuda")))
    notes.attempt("destroy_process_group", dist.destroy_process_group)


def graphs(notes: Notes) -> None:
    import torch

    values = torch.ones(1024, device="cuda")
    values += 1
    notes.see("first kernels")
    kept = []
    for kernels in (1, 100, 100, 1000):

        def capture(kernels: int = kernels) -> None:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                for _ in range(kernels):
                    values.add_(1)
            kept.append(graph)

        notes.attempt(f"a graph of {kernels} kernels", capture)
        notes.attempt("its replay", lambda: kept[-1].replay())
    notes.attempt("graphs deleted", kept.clear)


def triton(notes: Notes) -> None:
    import torch

    notes.attempt("first kernel", lambda: torch.ones(1, device="cuda"))
    function = torch.compile(lambda values: (values * 2 + 1).relu().sum(), dynamic=False)
    notes.attempt("a compiled function", lambda: float(function(torch.ones(1024, 1024, device="cuda"))))


def local_memory(notes: Notes) -> None:
    """A kernel with much memory for each thread, compiled with NVRTC."""
    import torch

    notes.attempt("first kernel", lambda: torch.ones(1, device="cuda"))
    source = """extern "C" __global__ void heavy(float* out, int n) {
        float local[4096];
        for (int i = 0; i < 4096; ++i) local[i] = out[0] + i * n;
        float sum = 0; for (int i = 0; i < 4096; ++i) sum += local[(i * n + threadIdx.x) % 4096];
        out[threadIdx.x] = sum; }"""
    kernel = notes.attempt("compiled", lambda: torch.cuda._compile_kernel(source, "heavy"))
    out = torch.zeros(256, device="cuda")
    notes.attempt("launched, 16 KiB for each thread", lambda: kernel((1, 1, 1), (256, 1, 1), (out, 7)))
    notes.attempt("printf", lambda: torch.cuda._compile_kernel('extern "C" __global__ void say() { printf("x"); }', "say")((1,), (1,), ()))


def beside(notes: Notes) -> None:
    """Another process has a context and 1 GiB on the same device meanwhile."""
    import torch

    notes.see("before", driver=False)
    code = "import torch,sys;t=torch.ones(268435456,device='cuda');torch.cuda.synchronize();print('ready',flush=True);sys.stdin.read()"
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    other.stdout.readline()
    notes.see("the other process has 1 GiB", driver=False, other=other.pid, this=os.getpid())
    notes.attempt("this one has a context", lambda: torch.ones(1, device="cuda"))
    notes.attempt("list_gpu_processes", torch.cuda.list_gpu_processes)
    notes.attempt("out of memory", lambda: _out_of_memory(torch, 200 * GIB))
    notes.attempt("nvidia-smi", _nvidia_smi)
    other.communicate("")
    notes.see("the other process ended")


def largest(notes: Notes) -> None:
    """The largest allocation, to 2 MiB, and how much in all fits."""
    import torch

    torch.cuda.init()
    notes.see("context")
    low, high = 0, torch.cuda.mem_get_info()[1] // (2 * MIB) + 1
    while high - low > 1:
        middle = (low + high) // 2
        try:
            tensor = torch.empty(middle * 2 * MIB, dtype=torch.uint8, device="cuda")
            del tensor
            low = middle
        except torch.OutOfMemoryError:
            high = middle
        torch.cuda.empty_cache()
    held = notes.attempt("largest", lambda: torch.empty(low * 2 * MIB, dtype=torch.uint8, device="cuda"))
    notes.see("its size", bytes=low * 2 * MIB)
    del held
    notes.attempt("emptied", torch.cuda.empty_cache)


def texts(notes: Notes) -> None:
    """What torch and the driver say, word for word."""
    import torch

    held = torch.ones(1000, 1000, device="cuda")
    for what, function in (
        ("device properties", lambda: str(torch.cuda.get_device_properties(0))),
        ("device properties by name", lambda: {n: str(getattr(torch.cuda.get_device_properties(0), n)) for n in _public(torch)}),
        ("memory_stats", lambda: dict(torch.cuda.memory_stats())),
        ("memory_stats keys", lambda: list(torch.cuda.memory_stats())),
        ("nested keys", lambda: _keys(torch.cuda.memory_stats_as_nested_dict())),
        ("memory_summary", torch.cuda.memory_summary),
        ("memory_summary abbreviated", lambda: torch.cuda.memory_summary(abbreviated=True)),
        ("host_memory_stats", lambda: dict(torch.cuda.host_memory_stats())),
        ("list_gpu_processes", torch.cuda.list_gpu_processes),
        ("mem_get_info", torch.cuda.mem_get_info),
        ("snapshot", lambda: _snapshot(torch)),
        ("get_allocator_settings", lambda: torch._C._accelerator_getAllocatorSettings()),
        ("accelerator", lambda: str(torch.accelerator.current_accelerator())),
        ("accelerator memory stats", lambda: list(torch.accelerator.memory_stats())),
    ):
        notes.attempt(what, function)
    notes.attempt("out of memory, 200 GiB", lambda: _out_of_memory(torch, 200 * GIB))
    notes.attempt("out of memory, 1 EiB", lambda: _out_of_memory(torch, 2**60))
    notes.attempt("out of memory, with a MemPool", lambda: _with_pool(torch))
    torch.cuda.set_per_process_memory_fraction(0.05)
    notes.attempt("out of memory, fraction 0.05", lambda: _out_of_memory(torch, 5 * GIB))
    notes.attempt("memory_summary after", torch.cuda.memory_summary)
    torch.cuda.set_per_process_memory_fraction(1.0)
    for what, wrong in (
        ("fraction of 2", lambda: torch.cuda.set_per_process_memory_fraction(2.0)),
        ("device 7", lambda: torch.empty(1, device="cuda:7")),
        ("properties of device 7", lambda: torch.cuda.get_device_properties(7)),
        ("set_device(7)", lambda: torch.cuda.set_device(7)),
        ("mem_get_info(7)", lambda: torch.cuda.mem_get_info(7)),
        ("settings", lambda: torch.cuda.memory._set_allocator_settings("expandable_segments:Maybe")),
        ("unknown setting", lambda: torch.cuda.memory._set_allocator_settings("no_such:True")),
        ("numpy of a CUDA tensor", held.numpy),
        ("mixed devices", lambda: held + torch.ones(1000, 1000)),
        ("mm of mixed devices", lambda: held @ torch.ones(1000, 1000)),
        ("index out of range", lambda: held[torch.tensor([5000], device="cuda")].sum().item()),
    ):
        notes.attempt(f"error: {what}", wrong, driver=False)


def machine(notes: Notes) -> None:
    """What tools say of the device, in a process that uses it."""
    import torch

    held = torch.ones(16 * MIB, device="cuda")
    for what, function in (
        ("device_memory_used", lambda: torch.cuda.device_memory_used()),
        ("utilization", lambda: torch.cuda.utilization()),
        ("memory_usage", lambda: torch.cuda.memory_usage()),
        ("temperature", lambda: torch.cuda.temperature()),
        ("power_draw", lambda: torch.cuda.power_draw()),
        ("clock_rate", lambda: torch.cuda.clock_rate()),
        ("arch list", torch.cuda.get_arch_list),
        ("nvidia-smi", _nvidia_smi),
        ("nvidia-smi -q", lambda: _command(["nvidia-smi", "-q"])),
        ("nvidia-smi -L", lambda: _command(["nvidia-smi", "-L"])),
        ("nvidia-smi csv", lambda: _command(["nvidia-smi", _QUERY, "--format=csv"])),
        ("nvidia-smi processes", lambda: _command(["nvidia-smi", "--query-compute-apps=pid,name,used_memory", "--format=csv"])),
        ("nvidia-smi topo", lambda: _command(["nvidia-smi", "topo", "-m"])),
        ("pynvml", _pynvml),
        ("collect_env", lambda: _command([sys.executable, "-m", "torch.utils.collect_env"])),
    ):
        notes.attempt(what, function)
    del held


_QUERY = "--query-gpu=name,driver_version,memory.total,memory.used,memory.free,memory.reserved,uuid,pci.bus_id,compute_cap,persistence_mode"


def _public(torch: Any) -> list[str]:
    return [name for name in dir(torch.cuda.get_device_properties(0)) if not name.startswith("_")]


def _command(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=40, check=False)
    return done.stdout + done.stderr


def _nvidia_smi() -> str:
    return _command(["nvidia-smi"])


def _out_of_memory(torch: Any, nbytes: int) -> str:
    try:
        torch.empty(nbytes, dtype=torch.uint8, device="cuda")
    except torch.OutOfMemoryError as error:
        return f"{type(error).__mro__}\n{error}"
    return "it fits"


def _with_pool(torch: Any) -> str:
    pool = torch.cuda.MemPool()
    with torch.cuda.use_mem_pool(pool):
        held = torch.empty(100 * MIB, dtype=torch.uint8, device="cuda")
        del held
    text = _out_of_memory(torch, 200 * GIB)
    with torch.cuda.use_mem_pool(pool):
        return text + "\n" + _out_of_memory(torch, 200 * GIB)


def _keys(value: Any) -> Any:
    return {str(key): _keys(inner) for key, inner in value.items()} if isinstance(value, dict) else type(value).__name__


def _snapshot(torch: Any) -> Any:
    torch.cuda.memory._record_memory_history(max_entries=100)
    one = torch.ones(5, device="cuda")
    big = torch.ones(4 * MIB, device="cuda")
    del one, big
    kept = torch.ones(7, device="cuda")
    snapshot = torch.cuda.memory._snapshot()
    torch.cuda.memory._record_memory_history(None)
    del kept
    return json.loads(json.dumps(snapshot, default=str))


def _pynvml() -> Any:
    import pynvml  # type: ignore[import-not-found,import-untyped,unused-ignore]

    pynvml.nvmlInit()
    handle = pynvml.nvmlDeviceGetHandleByIndex(0)
    answers = {}
    for name in (
        *("nvmlDeviceGetName", "nvmlDeviceGetUUID", "nvmlDeviceGetMemoryInfo", "nvmlDeviceGetComputeRunningProcesses"),
        *("nvmlDeviceGetUtilizationRates", "nvmlDeviceGetBAR1MemoryInfo", "nvmlDeviceGetPciInfo", "nvmlDeviceGetCudaComputeCapability"),
        *("nvmlDeviceGetArchitecture", "nvmlDeviceGetNumGpuCores", "nvmlDeviceGetMemoryBusWidth", "nvmlDeviceGetPowerUsage"),
        *("nvmlDeviceGetEnforcedPowerLimit", "nvmlDeviceGetPersistenceMode", "nvmlDeviceGetComputeMode", "nvmlDeviceGetBrand"),
        *("nvmlDeviceGetMigMode", "nvmlDeviceGetEccMode", "nvmlDeviceGetSerial", "nvmlDeviceGetTotalEnergyConsumption"),
    ):
        try:
            answers[name] = str(getattr(pynvml, name)(handle))
        except Exception as error:
            answers[name] = repr(error)
    try:
        answers["v2"] = str(pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2))
    except Exception as error:
        answers["v2"] = repr(error)
    for name in ("nvmlSystemGetDriverVersion", "nvmlSystemGetNVMLVersion", "nvmlSystemGetCudaDriverVersion", "nvmlDeviceGetCount"):
        try:
            answers[name] = str(getattr(pynvml, name)())
        except Exception as error:
            answers[name] = repr(error)
    return answers


EXPANDABLE = {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}
FRACTION = {"PYTORCH_CUDA_ALLOC_CONF": "per_process_memory_fraction:0.1"}
ITEMS: tuple[tuple[str, Callable[[Notes], None], dict[str, str]], ...] = (
    ("context", context, {}),
    ("products", products, {}),
    ("nccl", nccl, {}),
    ("texts", texts, {}),
    ("machine", machine, {}),
    ("attention", attention, {}),
    ("graphs", graphs, {}),
    ("largest", largest, {}),
    ("texts, expandable", texts, EXPANDABLE),
    ("largest, expandable", largest, EXPANDABLE),
    ("convolutions", convolutions, {}),
    ("many kernels", many_kernels, {}),
    ("many kernels, eager", many_kernels, {"CUDA_MODULE_LOADING": "EAGER"}),
    ("beside", beside, {}),
    ("context, expandable", context, EXPANDABLE),
    ("nccl, buffers of 1 MiB", nccl, {"NCCL_BUFFSIZE": str(MIB)}),
    ("products, workspaces named", products, {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}),
    ("texts, fraction", texts, FRACTION),
    ("local memory", local_memory, {}),
    ("triton", triton, {}),
    ("texts, cudaMallocAsync", texts, {"PYTORCH_CUDA_ALLOC_CONF": "backend:cudaMallocAsync"}),
)


def run_item(name: str, out: Path) -> None:
    """In a process of its own: what an item prints goes into the file as well."""
    notes = Notes(out)
    function = next(function for item, function, _ in ITEMS if item == name)
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            function(notes)
    except BaseException:
        notes.steps.append({"what": "the item failed", "error": traceback.format_exc()})
    notes.steps.append({"what": "printed", "text": printed.getvalue()[-4000:]})
    notes.save()


def run_all(out: Path, seconds: float) -> None:
    """The items in order while there is time; the file is written after each."""
    begin = time.perf_counter()
    content: dict[str, Any] = {"device": _about_the_machine(), "items": {}}
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, _, variables) in enumerate(ITEMS):
            left = seconds - (time.perf_counter() - begin)
            if left < 6:
                content.setdefault("left_out", []).append(name)
                continue
            path = Path(folder, f"{number}.json")
            entry: dict[str, Any] = {"variables": variables}
            content["items"][name] = entry
            item_begin = time.perf_counter()
            command = [sys.executable, __file__, "--out", str(path), "--item", name]
            try:
                limit = min(60.0, left)
                done = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, timeout=limit, check=False)
                entry |= {"exit": done.returncode, "stderr": done.stderr[-6000:]}
            except subprocess.TimeoutExpired:
                entry["exit"] = "it took too long"
            try:
                entry["steps"] = json.loads(path.read_text())
            except (OSError, ValueError) as error:
                entry["steps"] = repr(error)
            print(f"{name}: exit {entry['exit']}, {time.perf_counter() - item_begin:.1f} s", flush=True)
            write(out, content)
    content["seconds"] = time.perf_counter() - begin
    write(out, content)


def _about_the_machine() -> dict[str, Any]:
    import torch

    result: dict[str, Any] = {"torch": torch.__version__, "cuda": torch.version.cuda, "cudnn": str(torch.backends.cudnn.version())}
    for what, query in (("gpu", _nvidia_smi), ("query", lambda: _command(["nvidia-smi", _QUERY, "--format=csv"]))):
        try:
            result[what] = query()
        except (OSError, subprocess.SubprocessError) as error:
            result[what] = repr(error)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what lives on a GPU outside torch's caching allocator.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--item", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.item is not None:
        run_item(arguments.item, arguments.out)
    else:
        run_all(arguments.out, arguments.seconds)


if __name__ == "__main__":
    main()
