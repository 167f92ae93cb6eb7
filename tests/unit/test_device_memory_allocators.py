"""Allocators of a rank's devices: what kernels take beside their results."""

from fakerun.allocator.settings import LATEST, AllocatorSettings, TorchVersion
from fakerun.device_memory.allocators import DeviceAllocators
from fakerun.hardware.catalogue import hardware_named
from fakerun.records.collective import Phase
from fakerun.records.device_program import DeviceStream, Operation

MIB = 2**20
OPERATIONS = (Operation("aten.mm.default", "float32[8,4], float32[4,4]"), Operation("aten.add.Tensor", "float32[8], float32[8]"))
STREAMS = (DeviceStream(device=0), DeviceStream(device=0, index=0), DeviceStream(device=1))


def allocators(torch_version: TorchVersion = LATEST) -> DeviceAllocators:
    hardware = hardware_named("h100-80gb")
    return DeviceAllocators(AllocatorSettings(torch_version=torch_version), hardware, operations=OPERATIONS, streams=STREAMS, variables={})


def phase(of: Phase) -> int:
    return tuple(Phase).index(of)


def test_a_workspace_is_of_a_thread_and_a_stream_and_stays() -> None:
    devices = allocators()
    devices.execute(1, 0)
    assert not devices.all()
    for _ in range(3):
        devices.execute(0, 0)
    assert devices.of(0).peak_allocated_bytes == 32 * MIB
    devices.begin_phase(phase(Phase.BACKWARD))
    devices.execute(0, 0)
    devices.execute(0, 0)
    assert devices.of(0).peak_allocated_bytes == 64 * MIB
    devices.execute(0, 1)
    assert devices.of(0).peak_allocated_bytes == 96 * MIB
    devices.execute(0, 2)
    assert (devices.of(0).peak_allocated_bytes, devices.of(1).peak_allocated_bytes) == (96 * MIB, 32 * MIB)
    devices.empty_cache()
    assert devices.of(0).reserved_bytes == 96 * MIB


def test_temporaries_leave_what_they_reserved() -> None:
    devices = allocators((2, 15))
    devices.execute(0, 0)
    devices.execute(0, 0)
    assert devices.of(0).reserved_bytes == devices.of(0).peak_allocated_bytes == 32 * MIB
    devices.empty_cache()
    assert devices.of(0).reserved_bytes == 0
