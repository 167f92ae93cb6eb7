"""The cost of one operation or of one communication call: seconds on an otherwise idle device, and what the figure is taken from."""

from dataclasses import dataclass
from enum import StrEnum


class Basis(StrEnum):
    """What a cost is taken from, the best first."""

    CALIBRATED = "calibrated"
    """The user's own measurement (`--calibrate`)."""
    MEASURED = "measured"
    """A table has this operation with these sizes."""
    INTERPOLATED = "interpolated"
    """From neighbours in a table."""
    ROOFLINE = "roofline"
    """From rates of the card: the longer of computing and moving bytes."""
    EXTRAPOLATED = "extrapolated"
    """Beyond the sizes, or for another card or operation, than a table has."""
    UNKNOWN = "unknown"
    """Nothing is known of it; the cost is 0 seconds, and what uses it says so."""


class OperationKind(StrEnum):
    """What a kernel does, as far as its cost goes."""

    MATRIX_PRODUCT = "matrix product"
    ATTENTION = "attention"
    CONVOLUTION = "convolution"
    NORM = "norm"
    LOSS = "loss"
    EMBEDDING = "embedding"
    POINTWISE = "pointwise"
    REDUCTION = "reduction"
    COPY = "copy"
    """On one device; `HOST_COPY` is between a device and the host."""
    HOST_COPY = "host copy"
    OPTIMIZER = "optimizer"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationCost:
    """The kernels of one operation, back to back on an idle device.

    `flops` are multiplications and additions that its kernels execute (half of the square for causal attention), `full_flops` those that
    torch's formulas count (the whole square); 0 where only bytes count. `moved_bytes` are read and written at least. `moves_longer` is
    whether a product takes as long as its bytes need, not its multiplications; `is_least` whether nothing is known of what the operation
    computes, so that it takes no less than its bytes need.
    """

    kind: OperationKind
    seconds: float
    basis: Basis
    kernels: int = 1
    flops: int = 0
    full_flops: int = 0
    moved_bytes: int = 0
    moves_longer: bool = False
    is_least: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CallCost:
    """One communication call, from the arrival of its last rank to its end, with nothing else on the links.

    `multiprocessors` is how many of them its kernels occupy, which computing kernels then lack.
    """

    seconds: float
    basis: Basis
    multiprocessors: int
