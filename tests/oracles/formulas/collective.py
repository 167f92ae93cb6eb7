"""One expected collective, and the kinds that the programs use."""

from dataclasses import dataclass

from tests.oracles.formulas.model import Size, elements

DTYPE_BYTES = {"bfloat16": 2, "float32": 4, "int32": 4, "int64": 8, "uint8": 1}


@dataclass(frozen=True, kw_only=True)
class Collective:
    """One collective of one rank. `axis` is that of the mesh; "world" is all ranks together."""

    op: str
    axis: str
    dtype: str
    input_sizes: tuple[Size, ...]
    output_sizes: tuple[Size, ...]

    @property
    def nbytes(self) -> int:
        """The message size as nccl-tests count it: the larger of what the rank sends and what it receives."""
        return max(elements(self.input_sizes), elements(self.output_sizes)) * DTYPE_BYTES[self.dtype]


def in_place(op: str, axis: str, dtype: str, *size: int) -> Collective:
    """A collective whose output overwrites its input."""
    return Collective(op=op, axis=axis, dtype=dtype, input_sizes=(size,), output_sizes=(size,))


def all_gather(axis: str, ranks: int, dtype: str, *size: int) -> Collective:
    """Every rank's `size`, joined along the first dimension."""
    return Collective(
        op="all_gather_into_tensor", axis=axis, dtype=dtype, input_sizes=(size,), output_sizes=((size[0] * ranks, *size[1:]),)
    )


def reduce_scatter(axis: str, ranks: int, dtype: str, *size: int) -> Collective:
    """The opposite: of the sum of what all ranks hold, `size` for each."""
    return Collective(op="reduce_scatter_tensor", axis=axis, dtype=dtype, input_sizes=((size[0] * ranks, *size[1:]),), output_sizes=(size,))
