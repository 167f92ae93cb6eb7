"""Allocators of a rank's devices: what kernels take beside their results."""

import pytest

from fakerun.allocator.out_of_memory import AllocatorOutOfMemoryError
from fakerun.allocator.settings import LATEST, AllocatorSettings, TorchVersion
from fakerun.device_memory.allocators import DeviceAllocators
from fakerun.hardware.catalogue import hardware_named
from fakerun.records.collective import Phase
from fakerun.records.device_program import FRACTION_UNIT, DeviceStream, Opcode, Operation

MIB = 2**20
OPERATIONS = (Operation("aten.mm.default", "float32[8,4], float32[4,4]"), Operation("aten.add.Tensor", "float32[8], float32[8]"))
STREAMS = (DeviceStream(device=0), DeviceStream(device=0, index=0), DeviceStream(device=1))


def allocators(torch_version: TorchVersion = LATEST, *, capacity_bytes: int | None = None) -> DeviceAllocators:
    return DeviceAllocators(
        AllocatorSettings(torch_version=torch_version),
        hardware_named("h100-80gb"),
        operations=OPERATIONS,
        streams=STREAMS,
        settings_changes=("expandable_segments:True",),
        variables={},
        capacity_bytes=capacity_bytes,
    )


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


def test_instructions_ask_the_allocators() -> None:
    devices = allocators()
    devices.issue(Opcode.EXECUTE, 0, 0)
    devices.issue(Opcode.SYNCHRONIZE, 0, 0)
    devices.allocate(0, 3 * MIB, 0)
    devices.issue(Opcode.RECORD_STREAM, 0, 1)
    devices.free(0)
    assert devices.of(0).active_bytes == 35 * MIB
    devices.issue(Opcode.EMPTY_CACHE, 0, 0)
    assert devices.of(0).reserved_bytes == 32 * MIB
    devices.issue(Opcode.CHANGE_SETTINGS, 0, 0)
    devices.allocate(0, 3 * MIB, 0)
    devices.allocate(1, 3 * MIB, 2)
    assert [[segment.is_expandable for segment in devices.of(device).snapshot()] for device in (0, 1)] == [[True, False], [True]]
    devices.free_block(1)
    assert devices.of(0).allocated_bytes == 32 * MIB


def test_a_limit_holds_where_requests_may_fail_and_is_lifted_where_not() -> None:
    half = round(0.5 / FRACTION_UNIT)
    total = hardware_named("h100-80gb").usable_bytes
    endless, limited = allocators(), allocators(capacity_bytes=total)
    for devices in (endless, limited):
        devices.allocate(0, total // 3, 0)
        devices.issue(Opcode.LIMIT_MEMORY, half, 0)
    endless.allocate(0, total // 3, 0)
    assert endless.of(0).num_alloc_retries == 1
    with pytest.raises(AllocatorOutOfMemoryError, match="allowed"):
        limited.allocate(0, total // 3, 0)
    limited.allocate(1, total // 3, 2)


def test_a_kernel_that_fails_gives_back_what_it_took() -> None:
    """From torch 2.15 on workspaces are temporary."""
    devices = allocators((2, 15), capacity_bytes=20 * MIB)
    with pytest.raises(AllocatorOutOfMemoryError):
        devices.execute(0, 0)
    assert devices.of(0).allocated_bytes == 0


def test_workspaces_of_a_stream_are_given_back() -> None:
    devices = allocators()
    for stream in (0, 1):
        devices.execute(0, stream)
    devices.begin_phase(phase(Phase.BACKWARD))
    devices.execute(0, 1)
    devices.issue(Opcode.FREE_WORKSPACES, 0, 1)
    assert devices.of(0).allocated_bytes == 32 * MIB
    devices.execute(0, 1)
    assert devices.of(0).allocated_bytes == 64 * MIB
