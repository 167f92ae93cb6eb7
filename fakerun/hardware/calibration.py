"""Calibration: what the user measured of their own machine, which goes before everything that is published."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf

from fakerun.errors import UsageError
from fakerun.hardware.accelerator import Accelerator
from fakerun.hardware.nccl_tests_output import NcclTestsRun, check_device
from fakerun.units import format_seconds

_ABOVE_PEAK = 1.1
"""How far above a dense peak rate a measurement may be: the clock may be above the one for which the rate is published."""
_MOST_SHOWN = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredProduct:
    """A matrix product of [m, k] by [k, n] that was timed on the user's accelerator. `dtype` is torch's name of the operands'.

    `place` is where it was read, `file:line`.
    """

    m: int
    n: int
    k: int
    dtype: str
    seconds: float
    place: str = field(default="", compare=False)

    @property
    def flops(self) -> int:
        return 2 * self.m * self.n * self.k


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Measured points; `collectives` are what nccl-tests printed.

    `step_s` is a whole step of the job, in seconds; None if none was measured. `files` are where they were read.
    """

    products: tuple[MeasuredProduct, ...] = ()
    collectives: tuple[NcclTestsRun, ...] = ()
    step_s: float | None = None
    files: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self != NO_CALIBRATION

    def check_hardware(self, accelerator: Accelerator) -> None:
        """Refuse what was measured on another accelerator than `accelerator`, as far as it says on which, or is not possible on it.

        Raises:
            UsageError: it names both, and the place of each product that is faster than the accelerator's peak rate.
        """
        peaks = {dtype: peak for dtype in PRODUCT_DTYPES if (peak := _peak(dtype, accelerator))}
        faster = [each for each in self.products if each.flops > each.seconds * peaks.get(each.dtype, inf) * _ABOVE_PEAK]
        if faster:
            raise UsageError("\n".join(_too_fast(each, accelerator, peaks[each.dtype]) for each in faster[:_MOST_SHOWN]))
        for run in self.collectives:
            check_device(run, accelerator)

    def over(self, below: "Calibration") -> "Calibration":
        """These points, and those of `below`."""
        return Calibration(
            products=(*self.products, *below.products),
            collectives=(*self.collectives, *below.collectives),
            step_s=below.step_s if self.step_s is None else self.step_s,
            files=(*self.files, *below.files),
        )


def _peak(dtype: str, accelerator: Accelerator) -> float | None:
    """The dense rate of products of a type, for float32 that of TF32 where there is one; None if it is not known."""
    rates = {
        "bfloat16": accelerator.bfloat16_flops,
        "float16": accelerator.float16_flops,
        "float32": accelerator.tf32_flops or accelerator.float32_flops,
    }
    return accelerator.float8_flops if dtype.startswith("float8") else rates.get(dtype)


def _too_fast(product: MeasuredProduct, accelerator: Accelerator, peak: float) -> str:
    place = f"{product.place}: " if product.place else ""
    return (
        f"{place}{product.m}x{product.n}x{product.k} {product.dtype} in {format_seconds(product.seconds)} is "
        f"{product.flops / product.seconds / 1e12:,.0f} TFLOPS, and the peak rate of {accelerator.name} is {peak / 1e12:,.0f}: check the "
        "sizes, the unit (us, or tflops), the type and --hardware"
    )


NO_CALIBRATION = Calibration()

DTYPES: Mapping[str, str] = {
    "bf16": "bfloat16",
    "fp16": "float16",
    "half": "float16",
    "fp32": "float32",
    "float": "float32",
    "fp8": "float8_e4m3fn",
    "float8": "float8_e4m3fn",
}
"""Other names of the types that products are measured of, beside torch's own."""

PRODUCT_DTYPES = ("bfloat16", "float16", "float32", "float8_e4m3fn", "float8_e5m2")
