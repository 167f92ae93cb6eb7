"""Calibration: what the user measured of their own machine, which goes before everything that is published."""

from collections.abc import Mapping
from dataclasses import dataclass

from fakerun.hardware.accelerator import Accelerator
from fakerun.hardware.nccl_tests_output import NcclTestsRun, check_device


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredProduct:
    """A matrix product of [m, k] by [k, n] that was timed on the user's accelerator. `dtype` is torch's name of the operands'."""

    m: int
    n: int
    k: int
    dtype: str
    seconds: float

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
        """Refuse what was measured on another accelerator than `accelerator`, as far as it says on which.

        Raises:
            UsageError: it names both.
        """
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
