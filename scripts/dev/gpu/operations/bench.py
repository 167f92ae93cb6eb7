"""Times launches on the device and calls on the host. Times are microseconds unless the name says otherwise."""

import importlib
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

Call = Callable[[], Any]

MAX_HOLD_US = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One measurement: what is measured, and the function that measures it."""

    kind: str
    name: str
    fields: dict[str, Any] = field(default_factory=dict)
    measure: Callable[["Bench"], dict[str, Any]]


class Board:
    """Clocks, power and temperature of the card, through NVML; empty where there is none."""

    def __init__(self) -> None:
        self.error = ""
        try:
            self._nvml: Any = importlib.import_module("pynvml")
            self._nvml.nvmlInit()
            self._handle = self._nvml.nvmlDeviceGetHandleByIndex(0)
        except Exception as error:  # the package, the library or the card may be missing, each with an exception of its own
            self._nvml, self.error = None, repr(error)

    def read(self) -> dict[str, float]:
        """SM and memory clock in MHz, mean power of the last second and power now in W, temperature in degrees Celsius."""
        if self._nvml is None:
            return {}
        nvml, card = self._nvml, self._handle
        return {
            "sm_mhz": nvml.nvmlDeviceGetClockInfo(card, nvml.NVML_CLOCK_SM),
            "power_w": nvml.nvmlDeviceGetPowerUsage(card) / 1e3,
            **self._power_now(),
        }

    def _power_now(self) -> dict[str, float]:
        try:
            (value,) = self._nvml.nvmlDeviceGetFieldValues(self._handle, [self._nvml.NVML_FI_DEV_POWER_INSTANT])
            return {"power_now_w": value.value.uiVal / 1e3}
        except Exception:  # a driver or a package without this field
            return {}

    def describe(self) -> dict[str, Any]:
        """What does not change, or slowly: limits, versions, highest clocks, reasons for throttling; the error text of what fails."""
        if self._nvml is None:
            return {"error": self.error}
        nvml, card = self._nvml, self._handle
        asked: dict[str, Callable[[], Any]] = {
            "name": lambda: nvml.nvmlDeviceGetName(card),
            "driver": nvml.nvmlSystemGetDriverVersion,
            "power_limit_w": lambda: nvml.nvmlDeviceGetPowerManagementLimit(card) / 1e3,
            "enforced_power_limit_w": lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(card) / 1e3,
            "default_power_limit_w": lambda: nvml.nvmlDeviceGetPowerManagementDefaultLimit(card) / 1e3,
            "max_sm_mhz": lambda: nvml.nvmlDeviceGetMaxClockInfo(card, nvml.NVML_CLOCK_SM),
            "max_memory_mhz": lambda: nvml.nvmlDeviceGetMaxClockInfo(card, nvml.NVML_CLOCK_MEM),
            "memory_mhz": lambda: nvml.nvmlDeviceGetClockInfo(card, nvml.NVML_CLOCK_MEM),
            "sm_mhz": lambda: nvml.nvmlDeviceGetClockInfo(card, nvml.NVML_CLOCK_SM),
            "power_w": lambda: nvml.nvmlDeviceGetPowerUsage(card) / 1e3,
            "temperature_c": lambda: nvml.nvmlDeviceGetTemperature(card, nvml.NVML_TEMPERATURE_GPU),
            "throttle_reasons": lambda: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(card),
            "pcie_generation": lambda: nvml.nvmlDeviceGetCurrPcieLinkGeneration(card),
            "pcie_lanes": lambda: nvml.nvmlDeviceGetCurrPcieLinkWidth(card),
            "mig_mode": lambda: nvml.nvmlDeviceGetMigMode(card),
        }
        return {name: _answer(ask) for name, ask in asked.items()}


def _answer(ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except Exception as error:  # NVML refuses some questions in virtual machines
        return repr(error)


class Bench:
    """Times calls on one device.

    `cap` is the largest dimension that `size` lets through, so that the program can be tried on a CPU.
    """

    def __init__(self, device: str, cap: int | None = None) -> None:
        self.device = device
        self.cap = cap
        self.board = Board()
        self.on_gpu = device == "cuda"
        self.cache_bytes: int = torch.cuda.get_device_properties(0).L2_cache_size if self.on_gpu else 0

    def size(self, dimension: int) -> int:
        return dimension if self.cap is None else min(dimension, self.cap)

    def random(self, *shape: int, dtype: torch.dtype = torch.bfloat16) -> Tensor:
        """Normal random values; of sizes that are used as they are."""
        return torch.randn(*shape, device=self.device, dtype=dtype)

    def sets_for(self, nbytes: int) -> int:
        """How many sets of inputs of so many bytes exceed three times the cache; between 1 and 64."""
        if self.cap is not None:
            return 2
        return max(1, min(64, -(-3 * self.cache_bytes // max(nbytes, 1))))

    def rotated(self, nbytes: int, make: Callable[[], Call]) -> list[Call]:
        """Calls on inputs of their own, so many that none finds its inputs in the cache."""
        return [make() for _ in range(self.sets_for(nbytes))]

    def synchronize(self) -> None:
        if self.on_gpu:
            torch.cuda.synchronize()

    def hold_device(self, us: float) -> None:
        """Keep the device busy without touching memory, so that the host can queue what is timed behind it."""
        if self.on_gpu and self.cap is None:
            torch.cuda._sleep(int(us * 1980))  # noqa: SLF001 - no public call spins the device; argument in clock cycles, 1.98 GHz

    # -- on the device ----------------------------------------------------------------------------------------------------------

    def device_time(self, calls: Sequence[Call], *, total_ms: float = 16, batches: int = 5) -> dict[str, Any]:
        """Time per launch of calls that are taken in turn, back to back in each batch, behind a kernel that lets the host run ahead.

        `us_batches` has the mean of each batch. `host_ahead` is false if the device had begun some batch before the host had queued
        it all: then the figure contains time of the host.
        """
        device_us, host_us = self._estimate(calls)
        if device_us > 10_000:
            batches = 3
        if self.cap is not None:
            total_ms, batches = 0.1, 2
        n = max(1, min(100, int(total_ms * 1e3 / batches / max(device_us, 0.5))))
        times, ahead = [], True
        for _ in range(batches):
            us, was_ahead = self._batch(calls, n, hold_us=min(2 * n * host_us + 300, MAX_HOLD_US))
            times.append(us)
            ahead = ahead and was_ahead
        return {
            "us_median": round(statistics.median(times), 2),
            "us_min": round(min(times), 2),
            "us_batches": [round(us, 2) for us in times],
            "n": n,
            "sets": len(calls),
            "host_us": round(host_us, 1),
            "host_ahead": ahead,
            **self.board.read(),
        }

    def _estimate(self, calls: Sequence[Call]) -> tuple[float, float]:
        """Device time and host time of one call, after each call has run once or three have."""
        for call in calls[:3]:
            call()
        self.synchronize()
        started = time.perf_counter()
        for index in range(4):
            calls[index % len(calls)]()
        issued = time.perf_counter()
        self.synchronize()
        done = time.perf_counter()
        return (done - started) * 1e6 / 4, (issued - started) * 1e6 / 4

    def _batch(self, calls: Sequence[Call], n: int, *, hold_us: float) -> tuple[float, bool]:
        start, end = self.event(), self.event()
        self.hold_device(hold_us)
        start.record()
        for index in range(n):
            calls[index % len(calls)]()
        end.record()
        ahead = not start.query()
        self.synchronize()
        return start.elapsed_time(end) * 1e3 / n, ahead

    def event(self) -> Any:
        return torch.cuda.Event(enable_timing=True) if self.on_gpu else HostEvent()

    def sustained(self, calls: Sequence[Call], *, seconds: float, chunk_ms: float = 20) -> dict[str, Any]:
        """Back-to-back launches for so many seconds after half a second of rest: a series of time per launch with clock and power.

        Of each chunk: milliseconds since the start at its end, microseconds per launch, and the board read while the next one runs.
        """
        device_us, _ = self._estimate(calls)
        n = max(1, int(chunk_ms * 1e3 / max(device_us, 0.5)))
        before = self.board.read()
        time.sleep(0.5 if self.on_gpu else 0)
        rested = self.board.read()
        events, boards = [self.event()], []
        events[0].record()
        started = time.perf_counter()
        while time.perf_counter() - started < (seconds if self.on_gpu else 0.01):
            for index in range(n):
                calls[index % len(calls)]()
            events.append(self.event())
            events[-1].record()
            if len(events) > 2:
                events[-2].synchronize()
            boards.append(self.board.read())
        self.synchronize()
        series = [
            {"ms": round(events[0].elapsed_time(after), 1), "us": round(earlier.elapsed_time(after) * 1e3 / n, 2), **board}
            for earlier, after, board in zip(events, events[1:], boards, strict=False)
        ]
        times = [point["us"] for point in series]
        last = times[len(times) // 2 :]
        return {
            "us_first": times[0],
            "us_median": round(statistics.median(last), 2),
            "us_min": min(times),
            "n": n * len(times),
            "n_chunk": n,
            "sets": len(calls),
            "before": before,
            "rested": rested,
            "series": series,
        }

    # -- on the host ------------------------------------------------------------------------------------------------------------

    def host_time(self, call: Call, *, n: int = 100, batches: int = 7, per_call: int = 1) -> dict[str, Any]:
        """Time on the host per call (or per `per_call`-th part of one), the device idle before each batch and not waited for."""
        call()
        call()
        if self.cap is not None:
            n, batches = 2, 2
        times, totals = [], []
        for _ in range(batches):
            self.synchronize()
            started = time.perf_counter()
            for _ in range(n):
                call()
            issued = time.perf_counter()
            self.synchronize()
            times.append((issued - started) * 1e6 / n / per_call)
            totals.append((time.perf_counter() - started) * 1e6 / n / per_call)
        return {
            "us_median": round(statistics.median(times), 3),
            "us_min": round(min(times), 3),
            "us_until_done": round(statistics.median(totals), 3),
            "n": n,
            "per_call": per_call,
        }


class HostEvent:
    """A CUDA event's interface on the host's clock, for trying the program without a GPU."""

    def __init__(self) -> None:
        self.at = 0.0

    def record(self) -> None:
        self.at = time.perf_counter()

    def query(self) -> bool:
        return True

    def synchronize(self) -> None:
        pass

    def elapsed_time(self, other: "HostEvent") -> float:
        return (other.at - self.at) * 1e3
