"""The driver's own tools, NVML (as pynvml loads it) and nvidia-smi: what they answer of the simulated node."""

import ctypes
import os
import subprocess
from typing import Any

import pytest
import torch

from fakerun.errors import EmulationGapError
from fakerun.hardware.catalogue import hardware_named
from fakerun.hardware.outside_memory import context_range
from fakerun.hardware.request import parse_hardware
from fakerun.rank.simulation import Simulation
from tests.in_process import Simulate

GIB = 2**30
CONTEXT_BYTES = context_range(hardware_named("h100-80gb")).low_bytes
TOTAL = parse_hardware("h100-80gb").usable_bytes
RESERVED = 480 * 2**20


def noted(simulation: Simulation) -> list[str]:
    return [finding.message.partition(" is not emulated")[0] for finding in simulation.seen().findings if finding.code == "not-emulated"]


class Memory(ctypes.Structure):
    _fields_ = [(name, ctypes.c_ulonglong) for name in ("total", "free", "used")]


class MemoryV2(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint), *((name, ctypes.c_ulonglong) for name in ("total", "reserved", "free", "used"))]


class Process(ctypes.Structure):
    _fields_ = [("pid", ctypes.c_uint), ("used", ctypes.c_ulonglong), ("instance", ctypes.c_uint), ("compute", ctypes.c_uint)]


def library() -> Any:
    return ctypes.CDLL("libnvidia-ml.so.1")


def handle_of(index: int) -> Any:
    handle = ctypes.c_void_p()
    assert library().nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(handle)) == 0
    return handle


def test_nvml_counts_and_names_the_devices_of_the_node(simulate: Simulate) -> None:
    simulation = simulate(1, nproc_per_node=4)
    assert library().nvmlInit_v2() == 0
    count, name, uuid = ctypes.c_uint(), ctypes.create_string_buffer(96), ctypes.create_string_buffer(96)
    assert library().nvmlDeviceGetCount_v2(ctypes.byref(count)) == 0
    library().nvmlDeviceGetName(handle_of(3), name, ctypes.c_uint(96))
    library().nvmlDeviceGetUUID(handle_of(3), uuid, ctypes.c_uint(96))
    assert (count.value, name.value) == (4, b"NVIDIA H100 80GB HBM3")
    assert uuid.value.decode() == f"GPU-{torch.cuda.get_device_properties(3).uuid}"
    assert library().nvmlDeviceGetHandleByIndex_v2(4, ctypes.byref(ctypes.c_void_p())) == 2, "NVML_ERROR_INVALID_ARGUMENT"
    assert noted(simulation) == []


def test_nvml_counts_the_memory_of_this_rank(simulation: Simulation) -> None:
    kept = torch.empty(GIB, dtype=torch.uint8, device="cuda:1")
    memory = Memory()
    for index, used in ((0, 0), (1, CONTEXT_BYTES + kept.nbytes)):
        library().nvmlDeviceGetMemoryInfo(handle_of(index), ctypes.byref(memory))
        assert (memory.total, memory.free, memory.used) == (TOTAL + RESERVED, TOTAL - used, RESERVED + used)
    assert noted(simulation) == ["NVML's nvmlDeviceGetMemoryInfo"]


@pytest.mark.parametrize(
    ("hardware", "total", "reserved", "seen_by_cuda"),
    [("h100-80gb", 85520809984, 503316480, 85017493504), ("h200", 150754820096, 644939776, 150109880320)],
)
def test_nvml_counts_what_the_driver_keeps(simulate: Simulate, hardware: str, total: int, reserved: int, seen_by_cuda: int) -> None:
    """As NVML and cudaMemGetInfo answered with driver 580.159.04."""
    simulate(hardware=hardware)
    memory = MemoryV2()
    assert library().nvmlDeviceGetMemoryInfo_v2(handle_of(0), ctypes.byref(memory)) == 0
    assert (memory.version, memory.total, memory.reserved, memory.free, memory.used) == (33554472, total, reserved, total - reserved, 0)
    assert torch.cuda.mem_get_info()[1] == torch.cuda.get_device_properties(0).total_memory == seen_by_cuda


@pytest.mark.parametrize("version", ["", "_v2", "_v3"])
def test_nvml_lists_the_process_of_this_rank(simulation: Simulation, version: str) -> None:
    kept = torch.empty(GIB, dtype=torch.uint8, device="cuda:1")
    running = getattr(library(), f"nvmlDeviceGetComputeRunningProcesses{version}")
    count, found = ctypes.c_uint(0), (Process * 4)()
    assert running(handle_of(0), ctypes.byref(count), None) == 0, "nothing on the other device"
    assert (running(handle_of(1), ctypes.byref(count), None), count.value) == (7, 1), "NVML_ERROR_INSUFFICIENT_SIZE"
    count.value = 4
    assert (running(handle_of(1), ctypes.byref(count), found), count.value) == (0, 1)
    assert (found[0].pid, found[0].used) == (os.getpid(), CONTEXT_BYTES + kept.nbytes)


def test_torch_lists_the_process_of_this_rank(simulation: Simulation) -> None:
    """In the words of torch 2.11 on an H100."""
    kept = torch.empty(GIB, dtype=torch.uint8, device="cuda:1")
    used = CONTEXT_BYTES + kept.nbytes
    assert torch.cuda.list_gpu_processes(0) == "GPU:0\nno processes are running"
    assert torch.cuda.memory.list_gpu_processes(1) == f"GPU:1\nprocess {os.getpid():>10d} uses {used / 2**20:>12.3f} MB GPU memory"
    assert (torch.cuda.device_memory_used(0), torch.cuda.device_memory_used(1)) == (RESERVED, RESERVED + used)
    assert set(noted(simulation)) == {"torch.cuda.list_gpu_processes", "torch.cuda.device_memory_used"}


def test_what_nvml_cannot_answer(simulation: Simulation) -> None:
    power, processes = ctypes.c_uint(), ctypes.c_uint(7)
    assert library().nvmlDeviceGetPowerUsage(handle_of(0), ctypes.byref(power)) == 0
    assert library().nvmlDeviceGetGraphicsRunningProcesses_v3(handle_of(0), ctypes.byref(processes), None) == 0
    assert (power.value, processes.value) == (1, 0)
    assert noted(simulation) == ["NVML's nvmlDeviceGetPowerUsage"]
    with pytest.raises(EmulationGapError, match=r"^NVML's nvmlSystemGetDriverVersion is not emulated: it asks the driver"):
        library().nvmlSystemGetDriverVersion(ctypes.create_string_buffer(80), 80)


def test_pynvml(simulate: Simulate) -> None:
    pynvml: Any = pytest.importorskip("pynvml", reason="pip install nvidia-ml-py")
    simulation = simulate(nproc_per_node=4)
    pynvml.nvmlInit()
    handle = pynvml.nvmlDeviceGetHandleByIndex(torch.cuda.current_device())
    kept = torch.empty(GIB, dtype=torch.uint8, device="cuda:0")
    assert (pynvml.nvmlDeviceGetCount(), pynvml.nvmlDeviceGetName(handle)) == (4, "NVIDIA H100 80GB HBM3")
    used = kept.nbytes + CONTEXT_BYTES
    assert pynvml.nvmlDeviceGetMemoryInfo(handle).used == used + RESERVED
    assert pynvml.nvmlDeviceGetMemoryInfo(handle, pynvml.nvmlMemory_v2).used == used
    assert pynvml.nvmlDeviceGetUtilizationRates(handle).gpu == torch.cuda.utilization() == 1
    assert [(each.pid, each.usedGpuMemory) for each in pynvml.nvmlDeviceGetComputeRunningProcesses(handle)] == [(os.getpid(), used)]
    pynvml.nvmlShutdown()
    assert len(noted(simulation)) == 4


def test_other_libraries_are_loaded(simulation: Simulation) -> None:
    assert ctypes.CDLL(None).abs(-3) == 3
    with pytest.raises(OSError, match="libabsent"):
        ctypes.CDLL("libabsent.so.1")


def test_a_node_of_amd_has_no_nvml(simulate: Simulate) -> None:
    simulate(hardware="mi300x")
    with pytest.raises(OSError, match="libnvidia-ml"):
        library()
    with pytest.raises(FileNotFoundError):
        subprocess.run(["nvidia-smi-of-nobody"], check=False)


LIST = (
    "GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-00000000-0000-0000-0000-000000000001)\n"
    "GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-00000000-0000-0000-0000-000000000002)\n"
)
SMI: dict[str, str] = {
    "nvidia-smi -L": LIST,
    "/usr/bin/nvidia-smi --list-gpus": LIST,
    "nvidia-smi -L -i 1": LIST.partition("\n")[2],
    "nvidia-smi --query-gpu=index,gpu_name,memory.total --format=csv": (
        "index, name, memory.total [MiB]\n0, NVIDIA H100 80GB HBM3, 81559 MiB\n1, NVIDIA H100 80GB HBM3, 81559 MiB\n"
    ),
    "nvidia-smi --query-gpu=count,compute_cap --format csv,noheader --id=0": "2, 9.0\n",
    "nvidia-smi --query-gpu=memory.used,memory.free --format=csv,noheader,nounits": "1634, 79445\n0, 81079\n",
    "nvidia-smi --query-gpu=memory.total,memory.reserved --format=csv,noheader,nounits -i 1": "81559, 480\n",
    "nvidia-smi --query-gpu=power.draw --format=csv,noheader -i 0": "1 W\n",
}


@pytest.mark.parametrize("command", SMI)
def test_nvidia_smi_answers(simulation: Simulation, command: str) -> None:
    kept = torch.empty(GIB, dtype=torch.uint8, device="cuda:0")
    assert subprocess.run(command.split(), stdout=subprocess.PIPE, check=True, text=True).stdout == SMI[command]
    assert subprocess.getoutput(command) == SMI[command].rstrip("\n")
    assert len(noted(simulation)) == (2 if "power" in command or "used" in command else 0)
    assert kept.is_cuda


def test_nvidia_smi_by_way_of_os(simulation: Simulation, capfd: pytest.CaptureFixture[str]) -> None:
    with os.popen("nvidia-smi -L") as pipe:
        assert pipe.read() == LIST
    assert os.system("nvidia-smi -L") == 0
    assert capfd.readouterr().out == LIST


@pytest.mark.parametrize(
    "command", ["nvidia-smi", "nvidia-smi -q", "nvidia-smi --query-gpu=vbios_version --format=csv", "nvidia-smi -L | wc"]
)
def test_nvidia_smi_that_is_not_answered(simulation: Simulation, command: str) -> None:
    with pytest.raises(EmulationGapError, match=r"is not emulated: it asks the driver. Use the functions of torch.cuda"):
        subprocess.run(command, shell=True, check=False)


@pytest.mark.parametrize("command", ["echo my-nvidia-smi.log", "printf nvidia-smi.txt"])
def test_other_commands_run(simulation: Simulation, command: str) -> None:
    assert subprocess.check_output(command, shell=True, text=True).strip() == command.split()[1]
    words: Any = iter(command.split())
    assert subprocess.check_output(words, text=True).strip() == command.split()[1]
