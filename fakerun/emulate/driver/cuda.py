"""The facade of `torch.cuda`, which answers for the job's accelerator."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import torch

from fakerun.emulate.context import EmulationContext
from fakerun.emulate.device.devices import Devices
from fakerun.emulate.device.host_waits import HostWaits
from fakerun.emulate.device.library_versions import CUDA_VERSION, HIP_VERSION, NCCL_VERSION, cudnn_version
from fakerun.emulate.driver.cuda_memory import CudaMemory
from fakerun.emulate.driver.device_properties import DeviceProperties, built_for
from fakerun.emulate.driver.generators import random_offset, random_state
from fakerun.emulate.driver.graphs import GraphTable
from fakerun.emulate.driver.memory_pools import MemoryPoolTable
from fakerun.emulate.driver.node_devices import NodeDevices
from fakerun.emulate.driver.runtime import Runtime
from fakerun.emulate.driver.streams import StreamContext, StreamTable
from fakerun.emulate.driver.visible_devices import VisibleDevices
from fakerun.emulate.unsupported.gaps import NVML_MEMORY, NVML_PROCESSES
from fakerun.errors import as_script_error
from fakerun.hardware.accelerator import Accelerator
from fakerun.patching import Patches
from fakerun.torch_private import (
    CPP,
    CUDA_EXCHANGE_DEVICE,
    CUDA_IS_COMPILED,
    CUDA_LAZY_CALL,
    CUDA_LAZY_INIT,
    CUDA_MAYBE_EXCHANGE_DEVICE,
    CUDA_SLEEP,
    EMPTY_HOST_CACHE,
    NVTX_FUNCTIONS,
)


@contextmanager
def cuda_facade(context: EmulationContext) -> Iterator[None]:
    """Answer for `torch.cuda` until the context ends."""
    devices, hardware = context.devices, context.job.hardware
    with Patches() as patches:
        _versions(patches, hardware)  # first: torch asks the properties of all devices for cuDNN's, which uses CUDA
        cuda = torch.cuda
        patches.set_all(cuda, _presence(devices))
        patches.set_all(cuda, _properties(context))
        patches.set_all(cuda, _work(context))
        patches.set_all(cuda, _memory_in_use(context))
        random = random_state(devices)
        for module in (cuda, cuda.random):
            patches.set_all(module, random)
        patches.set_all(cuda, random_offset(devices))
        patches.set_all(
            cuda.memory,
            {name: getattr(cuda, name) for name in ("is_initialized", CUDA_LAZY_INIT, "MemPool", "list_gpu_processes")},
        )
        for name, function in context.part(CudaMemory).functions().items():
            patches.add(CPP, name.value, function)
        patches.add(CPP, CUDA_SLEEP, lambda cycles: devices.initialize())
        for pool_function, function in context.part(MemoryPoolTable).functions().items():
            for module in (CPP, cuda.memory):
                patches.add(module, pool_function.value, function)
        patches.add(CPP, EMPTY_HOST_CACHE, lambda: None)
        patches.set(cuda.graph, "default_capture_stream", None)
        same = ("CUDAGraph", "graph_pool_handle", "is_current_stream_capturing")
        patches.set_all(cuda.graphs, {name: getattr(cuda, name) for name in same})
        patches.set(*NVTX_FUNCTIONS, _NoRanges())
        patches.set_all(cuda.profiler, {"start": lambda: None, "stop": lambda: None})
        patches.set(torch.Tensor, "record_stream", lambda self, stream: context.allocations.used_on_stream(self, stream.key))
        yield


def _presence(devices: Devices) -> dict[str, Any]:
    visible = VisibleDevices()

    class DeviceContext:
        """Replaces `torch.cuda.device` and `torch.cuda.device_of`."""

        def __init__(self, device: Any) -> None:
            self.idx = devices.index(device.device if isinstance(device, torch.Tensor) else device)

        def __enter__(self) -> None:
            devices.initialize()
            self._previous, devices.current = devices.current, self.idx

        def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
            devices.current = self._previous

    def current_device() -> int:
        devices.initialize()
        return devices.current

    def set_device(device: Any) -> None:
        index = -1 if device == -1 else devices.index(device)
        if index >= 0:  # torch ignores a negative ordinal
            devices.initialize()
            devices.current = index

    return {
        CUDA_IS_COMPILED: lambda: True,
        "is_available": lambda: True,
        "is_initialized": lambda: devices.initialized,
        "init": devices.initialize,
        CUDA_LAZY_INIT: devices.initialize,
        CUDA_LAZY_CALL: lambda call, **kwargs: call(),
        "device_count": lambda: visible.count(devices.count),
        "current_device": current_device,
        "set_device": set_device,
        "device": DeviceContext,
        "device_of": DeviceContext,
        CUDA_EXCHANGE_DEVICE: lambda index: _exchange(devices, index),
        CUDA_MAYBE_EXCHANGE_DEVICE: lambda index: _exchange(devices, index),
        "can_device_access_peer": lambda device, peer: True,
    }


def _exchange(devices: Devices, index: int) -> int:
    previous = devices.current
    if index >= 0:
        devices.initialize()
        devices.current = devices.index(index)
    return previous


def _properties(context: EmulationContext) -> dict[str, Any]:
    devices, hardware, findings = context.devices, context.job.hardware, context.findings
    major, minor = hardware.compute_capability

    def properties(device: Any = None) -> DeviceProperties:
        devices.initialize()
        try:
            index = devices.index(device)
        except torch.AcceleratorError:
            raise as_script_error(AssertionError("Invalid device id")) from None  # as torch's own function, which counts devices
        return DeviceProperties(hardware, index, findings)

    return {
        "get_device_properties": properties,
        "get_device_name": lambda device=None: properties(device).name,
        "get_arch_list": lambda: built_for(hardware),
        "get_device_capability": lambda device=None: (properties(device).major, properties(device).minor),
        "is_bf16_supported": lambda including_emulation=True: (major, minor) >= (8, 0) or including_emulation,
        "is_tf32_supported": lambda: major >= 8,
    }


def _memory_in_use(context: EmulationContext) -> dict[str, Any]:
    """What torch asks NVML about a device's memory and processes, also where pynvml is not installed."""
    devices, on_node, findings = context.devices, context.part(NodeDevices), context.findings

    def list_gpu_processes(device: Any = None) -> str:
        NVML_PROCESSES.report(findings, "torch.cuda.list_gpu_processes")
        index = on_node.of_rank(devices.index(device))
        processes = [f"process {pid:>10d} uses {nbytes / 2**20:>12.3f} MB GPU memory" for pid, nbytes in on_node.processes(index).items()]
        return "\n".join((f"GPU:{index}", *(processes or ["no processes are running"])))

    def device_memory_used(device: Any = None) -> int:
        NVML_MEMORY.report(findings, "torch.cuda.device_memory_used")
        return on_node.reserved_bytes + on_node.used_bytes(on_node.of_rank(devices.index(device)))

    return {"list_gpu_processes": list_gpu_processes, "device_memory_used": device_memory_used}


def _work(context: EmulationContext) -> dict[str, Any]:
    streams, graphs, host_waits = context.part(StreamTable), GraphTable(context), context.part(HostWaits)
    pools = context.part(MemoryPoolTable)

    def synchronize(device: Any = None) -> None:
        context.devices.initialize()
        context.execution.synchronized(context.devices.index(device))
        host_waits.wait()

    return {
        "synchronize": synchronize,
        "ipc_collect": lambda: None,
        "Stream": streams.Stream,
        "ExternalStream": streams.ExternalStream,
        "get_stream_from_external": streams.ExternalStream,
        "Event": streams.Event,
        "stream": StreamContext,
        "StreamContext": StreamContext,
        "current_stream": streams.current,
        "default_stream": streams.default,
        "set_stream": streams.set_current,
        "is_current_stream_capturing": graphs.is_capturing,
        "CUDAGraph": graphs.Graph,
        "graph_pool_handle": pools.handle,
        "MemPool": pools.MemPool,
        "cudart": lambda: Runtime(context.part(CudaMemory).memory_info),
        "set_sync_debug_mode": lambda mode: None,
        "get_sync_debug_mode": lambda: 0,
    }


class _NoRanges:
    """Replaces NVTX. Its ranges are ignored."""

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: 0


def _versions(patches: Patches, hardware: Accelerator) -> None:
    if hardware.is_amd:
        patches.set(torch.version, "hip", HIP_VERSION)
        patches.set(torch.version, "cuda", None)
    elif torch.version.cuda is None:
        patches.set(torch.version, "cuda", CUDA_VERSION)
    patches.set(torch.backends.cuda, "is_built", lambda: True)
    patches.set(torch.cuda.nccl, "version", lambda: NCCL_VERSION)
    patches.set(torch.cuda.nccl, "is_available", lambda tensors: True)
    version = cudnn_version()
    patches.set(torch.backends.cudnn, "version", lambda: version)
    patches.set(torch.backends.cudnn, "is_available", lambda: True)
