"""NVML, the driver's library that pynvml and its kin load by name: the functions that the simulation can answer.

Names and structures are those of nvml.h (CUDA 13). Whoever loads the library gets Python functions in the place of C's.
"""

import ctypes
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from fakerun.emulate.context import EmulationContext
from fakerun.emulate.driver.node_devices import NodeDevices
from fakerun.emulate.unsupported.gaps import NVML_FUNCTION, NVML_MEMORY, NVML_PROCESSES, NVML_SENSOR
from fakerun.patching import Patches
from fakerun.records.observer import FindingSink

_LIBRARY = re.compile(r"(?:.*/)?libnvidia-ml\.so(?:\.\d+)*")
_FUNCTIONS = "_nvml_functions"

_SUCCESS, _INVALID_ARGUMENT, _INSUFFICIENT_SIZE = 0, 2, 7

_SENSORS = (
    "nvmlDeviceGetClockInfo", "nvmlDeviceGetEnforcedPowerLimit", "nvmlDeviceGetFanSpeed", "nvmlDeviceGetMaxClockInfo",
    "nvmlDeviceGetPowerManagementLimit", "nvmlDeviceGetPowerUsage", "nvmlDeviceGetTemperature",
)  # fmt: skip
_VERSIONS = ("", "_v2", "_v3")
_STARTING = ("nvmlInit", "nvmlInit_v2", "nvmlInitWithFlags", "nvmlShutdown")

_NO_INSTANCE = 2**32 - 1

Function = Callable[..., int]


class _Memory(ctypes.Structure):
    _fields_ = [(name, ctypes.c_ulonglong) for name in ("total", "free", "used")]


class _MemoryV2(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint), *((name, ctypes.c_ulonglong) for name in ("total", "reserved", "free", "used"))]


_OF_PROCESS: list[tuple[str, Any]] = [("pid", ctypes.c_uint), ("used", ctypes.c_ulonglong)]


class _Process(ctypes.Structure):
    _fields_ = _OF_PROCESS


class _ProcessV2(ctypes.Structure):
    """With the instances of a device that is partitioned."""

    _fields_ = [*_OF_PROCESS, ("instance", ctypes.c_uint), ("compute_instance", ctypes.c_uint)]


class _Utilization(ctypes.Structure):
    _fields_ = [("gpu", ctypes.c_uint), ("memory", ctypes.c_uint)]


@contextmanager
def nvml(context: EmulationContext) -> Iterator[None]:
    """Let `ctypes.CDLL("libnvidia-ml.so.1")` give NVML's functions, on a node with NVIDIA's devices, until the context ends."""
    load, look_up = ctypes.CDLL.__init__, ctypes.CDLL.__getattr__
    functions = _functions(context.part(NodeDevices), context.findings)

    def load_library(self: Any, name: Any, *args: Any, **kwargs: Any) -> None:
        if isinstance(name, str) and _LIBRARY.fullmatch(name):
            vars(self).update({"_name": name, "_handle": 0, _FUNCTIONS: functions})
        else:
            load(self, name, *args, **kwargs)

    def function(self: Any, name: str) -> Any:
        known = vars(self).get(_FUNCTIONS)
        if known is None or (name.startswith("__") and name.endswith("__")):
            return look_up(self, name)
        return known.get(name) or partial(_missing, name)

    with Patches() as patches:
        if not context.job.hardware.is_amd:
            patches.set(ctypes.CDLL, "__init__", load_library)
            patches.set(ctypes.CDLL, "__getattr__", function)
        yield


def _missing(name: str, *args: Any) -> int:
    raise NVML_FUNCTION.error(f"NVML's {name}")


def _functions(devices: NodeDevices, findings: FindingSink) -> dict[str, Function]:
    return {
        **dict.fromkeys(_STARTING, lambda *args: _SUCCESS),
        **_identity(devices),
        **_memory(devices, findings),
        **{name: partial(_sensor, name, findings) for name in _SENSORS},
        **_processes(devices, findings),
        "nvmlDeviceGetUtilizationRates": lambda handle, rates: _sensor_of("UtilizationRates", findings, rates, _Utilization(1, 1)),
    }


def _identity(devices: NodeDevices) -> dict[str, Function]:
    """Which devices there are. A handle is the number of its device, from 1: NULL is none."""

    def count(counted: Any) -> int:
        return _write(counted, ctypes.c_uint(devices.count))

    def handle(index: Any, made: Any) -> int:
        number = _number(index)
        return _write(made, ctypes.c_void_p(number + 1)) if 0 <= number < devices.count else _INVALID_ARGUMENT

    def capability(handle: Any, major: Any, minor: Any) -> int:
        for target, number in zip((major, minor), devices.hardware.compute_capability, strict=True):
            _write(target, ctypes.c_int(number))
        return _SUCCESS

    return {
        "nvmlDeviceGetCount": count,
        "nvmlDeviceGetCount_v2": count,
        "nvmlDeviceGetHandleByIndex": handle,
        "nvmlDeviceGetHandleByIndex_v2": handle,
        "nvmlDeviceGetIndex": lambda handle, index: _write(index, ctypes.c_uint(_index(handle))),
        "nvmlDeviceGetName": lambda handle, name, size: _write_text(name, devices.hardware.device_name, size),
        "nvmlDeviceGetUUID": lambda handle, text, size: _write_text(text, devices.uuid(_index(handle)), size),
        "nvmlDeviceGetCudaComputeCapability": capability,
    }


def _memory(devices: NodeDevices, findings: FindingSink) -> dict[str, Function]:
    reserved = devices.reserved_bytes
    total = devices.hardware.usable_bytes + reserved

    def used(handle: Any) -> int:
        NVML_MEMORY.report(findings, "NVML's nvmlDeviceGetMemoryInfo")
        return devices.used_bytes(_index(handle))

    def info(handle: Any, memory: Any) -> int:
        taken = reserved + used(handle)
        return _write(memory, _Memory(total, total - taken, taken))

    def info_v2(handle: Any, memory: Any) -> int:
        taken = used(handle)
        return _write(memory, _MemoryV2(ctypes.sizeof(_MemoryV2) | 2 << 24, total, reserved, total - reserved - taken, taken))

    return {"nvmlDeviceGetMemoryInfo": info, "nvmlDeviceGetMemoryInfo_v2": info_v2}


def _sensor(name: str, findings: FindingSink, *args: Any) -> int:
    return _sensor_of(name, findings, args[-1], ctypes.c_uint(1))


def _sensor_of(name: str, findings: FindingSink, target: Any, value: Any) -> int:
    NVML_SENSOR.report(findings, f"NVML's {name}")
    return _write(target, value)


def _processes(devices: NodeDevices, findings: FindingSink) -> dict[str, Function]:
    def running(version: str, handle: Any, count: Any, target: Any) -> int:
        """Up to `count` processes; of a list that is too short `count` becomes what is needed."""
        NVML_PROCESSES.report(findings, f"NVML's nvmlDeviceGetComputeRunningProcesses{version}")
        found = devices.processes(_index(handle))
        places = ctypes.cast(count, ctypes.POINTER(ctypes.c_uint)).contents.value
        _write(count, ctypes.c_uint(len(found)))
        if len(found) > places:
            return _INSUFFICIENT_SIZE
        rows = ((pid, nbytes, *((_NO_INSTANCE, _NO_INSTANCE) if version else ())) for pid, nbytes in found.items())
        kind: type[ctypes.Structure] = _ProcessV2 if version else _Process
        return _write(target, (kind * len(found))(*(kind(*row) for row in rows))) if found else _SUCCESS

    def no_graphics(version: str, handle: Any, count: Any, target: Any) -> int:
        return _write(count, ctypes.c_uint(0))

    return {
        f"nvmlDeviceGet{kind}RunningProcesses{version}": partial(function, version)
        for kind, function in (("Compute", running), ("Graphics", no_graphics))
        for version in _VERSIONS
    }


def _write(target: Any, value: Any) -> int:
    """Store what a function returns through a pointer."""
    ctypes.memmove(target, ctypes.byref(value), ctypes.sizeof(value))
    return _SUCCESS


def _write_text(target: Any, text: str, size: Any) -> int:
    encoded = text.encode()[: _number(size) - 1] + b"\0"
    ctypes.memmove(target, encoded, len(encoded))
    return _SUCCESS


def _number(argument: Any) -> int:
    return int(getattr(argument, "value", argument))


def _index(handle: Any) -> int:
    address = handle if isinstance(handle, int) else ctypes.cast(handle, ctypes.c_void_p).value
    return (address or 1) - 1
