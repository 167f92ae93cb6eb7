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


def noted(simulation: Simulation) -> list[str]:
    return [finding.message.partition(" is not emulated")[0] for finding in simulation.seen().findings if finding.code == "not-emulated"]


class Memory(ctypes.Structure):
    _fields_ = [(name, ctypes.c_ulonglong) for name in ("total", "free", "used")]


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
        assert (memory.total, memory.free, memory.used) == (TOTAL, TOTAL - used, used)
    assert noted(simulation) == ["NVML's nvmlDeviceGetMemoryInfo (`pynvml`)"]


def test_what_nvml_cannot_answer(simulation: Simulation) -> None:
    power, processes = ctypes.c_uint(), ctypes.c_uint(7)
    assert library().nvmlDeviceGetPowerUsage(handle_of(0), ctypes.byref(power)) == 0
    assert library().nvmlDeviceGetComputeRunningProcesses_v3(handle_of(0), ctypes.byref(processes), None) == 0
    assert (power.value, processes.value) == (1, 0)
    assert noted(simulation) == ["NVML's nvmlDeviceGetPowerUsage", "NVML's nvmlDeviceGetComputeRunningProcesses_v3"]
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
    assert pynvml.nvmlDeviceGetMemoryInfo(handle).used == pynvml.nvmlDeviceGetMemoryInfo(handle, pynvml.nvmlMemory_v2).used == used
    assert pynvml.nvmlDeviceGetUtilizationRates(handle).gpu == torch.cuda.device_memory_used() == 1
    assert pynvml.nvmlDeviceGetComputeRunningProcesses(handle) == []
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
        "index, name, memory.total [MiB]\n0, NVIDIA H100 80GB HBM3, 81039 MiB\n1, NVIDIA H100 80GB HBM3, 81039 MiB\n"
    ),
    "nvidia-smi --query-gpu=count,compute_cap --format csv,noheader --id=0": "2, 9.0\n",
    "nvidia-smi --query-gpu=memory.used,memory.free --format=csv,noheader,nounits": "1564, 79475\n0, 81039\n",
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
