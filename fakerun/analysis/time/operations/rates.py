"""Rates: what the kernels of one accelerator reach, from its catalogue entry."""

import math
from dataclasses import dataclass

from fakerun.errors import UsageError
from fakerun.hardware.accelerator import Accelerator
from fakerun.hardware.kernel_tables import KernelTables, accelerators_with_tables, kernel_tables

LAUNCH_S = 2.0e-6
"""From the start of the shortest kernel to that of the next one behind it: 1.8 us (H200) to 2.2 us (H100) measured, 2 us in torchao."""

MEMORY_SHARE = 0.86
"""Where an accelerator's is not known: 0.83 to 0.92 were published and measured."""

PRODUCT_SHARE = 0.75
"""Where an accelerator's is not known: `torch/utils/_runtime_estimation.py` has the same; 0.63 to 0.79 in tables."""

COMPUTING_SHARE = 0.75
"""Of a training step in which products and attention run, where it is not known: dense models of 1B parameters and more."""

_SLOWS_FROM, _SLOWEST_FROM = 0.68, 0.78
"""Shares of a step in which products and attention run: up to the first the card keeps its highest clock, from the second on products are
as slow as without a pause. Taken from four training programs on an H100 of 700 W."""

CLOCK_HZ = 1.7e9
"""Where an accelerator's highest clock is not known."""

_FLOAT32_FLOPS_PER_CYCLE = 256
_FEWER_FLOAT32_FLOPS_PER_CYCLE = 128
"""Of a multiprocessor, without matrix units, where an accelerator's float32 rate is not known; the fewer on NVIDIA's cards before 8.6.
Sources: CUDA C++ Programming Guide, throughput of native arithmetic instructions; 163.4 TFLOPS of the MI300X at 2.1 GHz."""
_MORE_FLOAT32_FROM = (8, 6)

_FLOAT64_FLOPS_PER_CYCLE = {
    (7, 0): 64, (7, 2): 4, (7, 5): 4, (8, 0): 128, (8, 6): 4, (8, 7): 4, (8, 9): 4, (9, 0): 256, (10, 0): 128, (10, 3): 4, (12, 0): 4,
}  # fmt: skip
"""Of a multiprocessor by compute capability, with its matrix units where they have float64 (8.0 and 9.0: 19.5 and 67 TFLOPS of the A100
and H100 datasheets). Source: CUDA C++ Programming Guide, throughput of native arithmetic instructions, two operations each."""

_IDLE_SHARE_OF_POWER = 0.15
"""Of the power limit, on a card that computes nothing (100 of 700 W measured)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Rates of an accelerator.

    `cycles_per_s` counts clock cycles of all multiprocessors. `tables` are those that stand for the accelerator, `table_factor` is its rate
    of products over that of the tables' card, `tables_are_own` whether it is that card as the catalogue has it. `clock_factor` is the rate
    of what computes in a step that lasts over that of a short measurement: the clock falls at the power limit; `attention_clock_factor` is
    that of attention.
    """

    accelerator: Accelerator
    memory_bytes_per_s: float
    cycles_per_s: float
    product_share: float
    tables: KernelTables | None
    table_factor: float
    tables_are_own: bool
    clock_factor: float = 1.0
    attention_clock_factor: float = 1.0

    def peak_flops(self, dtype: str) -> float:
        """Operations a second of a type, dense, on the units that torch uses for it: float32 without TF32.

        Types that the card has no matrix units for are computed in float32.
        """
        float32 = self.accelerator.float32_flops or self._float32_flops()
        if dtype in ("float64", "complex128"):
            per_cycle = None if self.accelerator.is_amd else _FLOAT64_FLOPS_PER_CYCLE.get(self.accelerator.compute_capability)
            return float32 / 2 if per_cycle is None else self.cycles_per_s * per_cycle
        rates = {
            "tf32": self.accelerator.tf32_flops,
            "float16": self.accelerator.float16_flops,
            "bfloat16": self.accelerator.bfloat16_flops,
        }
        return (self.accelerator.float8_flops if dtype.startswith("float8") else rates.get(dtype)) or float32

    def _float32_flops(self) -> float:
        """The float32 rate by clock and multiprocessors."""
        is_older = not self.accelerator.is_amd and self.accelerator.compute_capability < _MORE_FLOAT32_FROM
        return self.cycles_per_s * (_FEWER_FLOAT32_FLOPS_PER_CYCLE if is_older else _FLOAT32_FLOPS_PER_CYCLE)


def rates_of(accelerator: Accelerator, computing_share: float = COMPUTING_SHARE) -> Rates:
    """The rates of an accelerator in a step of which products and attention take this share.

    Raises:
        UsageError: its memory bandwidth is not known; the message says how to give it.
    """
    if accelerator.memory_bytes_per_s is None:
        raise UsageError(
            f"the memory bandwidth of {accelerator} is not known, and the time of its kernels follows from it; give it: "
            f"--hardware {accelerator},memory_bandwidth=2TB/s"
        )
    share = accelerator.product_share or PRODUCT_SHARE
    reference = _reference(accelerator)
    return Rates(
        accelerator=accelerator,
        memory_bytes_per_s=accelerator.memory_bytes_per_s * (accelerator.memory_share or MEMORY_SHARE),
        cycles_per_s=accelerator.multiprocessors * (accelerator.clock_hz or CLOCK_HZ),
        product_share=share * _power_factor(accelerator),
        tables=None if reference is None else kernel_tables(reference.name),
        table_factor=1.0 if reference is None else _table_factor(accelerator, reference),
        tables_are_own=reference is not None and reference.name == accelerator.name,
        clock_factor=_clock_factor(accelerator, computing_share),
        attention_clock_factor=_attention_clock_factor(accelerator, computing_share),
    )


def _reference(accelerator: Accelerator) -> Accelerator | None:
    """The accelerator whose tables stand for this one's, as the catalogue has it."""
    from fakerun.hardware.catalogue import hardware_named

    named = accelerator.kernel_tables
    if named is None or named not in accelerators_with_tables():
        return None
    return hardware_named(named)


def _table_factor(accelerator: Accelerator, reference: Accelerator) -> float:
    """The rate of products over that of the tables: by peak, by what products reach of it, by a power limit of the user's."""
    peak = (accelerator.bfloat16_flops or 0.0) / (reference.bfloat16_flops or 1.0)
    own = accelerator.product_share or reference.product_share or PRODUCT_SHARE
    return peak * own / (reference.product_share or PRODUCT_SHARE) * _power_factor(accelerator)


def _clock_factor(accelerator: Accelerator, computing_share: float) -> float:
    """Between 1 and what products without a pause reach of a short measurement; 1 where that was not measured."""
    if accelerator.sustained_product_share is None or accelerator.product_share is None:
        return 1.0
    return 1.0 / (1.0 + _slowed(computing_share) * (accelerator.product_share / accelerator.sustained_product_share - 1.0))


def _attention_clock_factor(accelerator: Accelerator, computing_share: float) -> float:
    """As of products, where the accelerator has no figure of its own for attention, which draws less power."""
    if accelerator.sustained_attention is None:
        return _clock_factor(accelerator, computing_share)
    return 1.0 / (1.0 + _slowed(computing_share) * (1.0 / accelerator.sustained_attention - 1.0))


def _slowed(computing_share: float) -> float:
    """0 at the highest clock, 1 where products are as slow as without a pause."""
    return min(max((computing_share - _SLOWS_FROM) / (_SLOWEST_FROM - _SLOWS_FROM), 0.0), 1.0)


def _power_factor(accelerator: Accelerator) -> float:
    """The clock that a power limit of the user's leaves, over that of the catalogue's limit.

    The power beyond that of an idle card goes with the third power of the clock; 0.86 for 500 of 700 W.
    """
    if "power_limit" not in accelerator.overrides or accelerator.power_limit_w is None:
        return 1.0
    from fakerun.hardware.catalogue import hardware_named

    full = hardware_named(accelerator.name).power_limit_w
    if full is None or accelerator.power_limit_w >= full:
        return 1.0
    idle = _IDLE_SHARE_OF_POWER * full
    left: float = max((accelerator.power_limit_w - idle) / (full - idle), 0.01)
    return math.cbrt(left)
