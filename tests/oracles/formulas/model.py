"""The job in numbers, the parameters of its model, and which part of each a rank holds."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, prod
from typing import Protocol

Size = tuple[int, ...]


class Shape(Protocol):
    """The numbers of a Llama 3, as scripts/llama3.py names them."""

    @property
    def dim(self) -> int: ...
    @property
    def layers(self) -> int: ...
    @property
    def heads(self) -> int: ...
    @property
    def kv_heads(self) -> int: ...
    @property
    def head_dim(self) -> int: ...
    @property
    def ffn_dim(self) -> int: ...
    @property
    def vocab(self) -> int: ...


@dataclass(frozen=True, kw_only=True)
class Job:
    """One program's arguments, and the mesh it runs on: dp x tp ranks, tp the inner axis, of size 1 where there is no tensor parallelism.

    `device`, where the program runs, and `torch`, the version it runs on, make a small difference each, in the module `fsdp`.
    """

    shape: Shape
    dp: int
    tp: int = 1
    seq_len: int
    batch_size: int = 1
    dtype: str = "bfloat16"
    activation_checkpointing: str = "none"
    reshard_after_forward: str = "default"
    device: str = "cpu"
    torch: tuple[int, int] = (2, 13)

    def group_ranks(self, axis: str, rank: int) -> tuple[int, ...]:
        """Global ranks of the group along `axis` ("dp", "tp", or "world" for all) that `rank` belongs to; they are laid out row-major."""
        dp_rank, tp_rank = divmod(rank, self.tp)
        if axis == "dp":
            return tuple(range(tp_rank, self.dp * self.tp, self.tp))
        if axis == "tp":
            return tuple(range(dp_rank * self.tp, (dp_rank + 1) * self.tp))
        return tuple(range(self.dp * self.tp))


# ---- Parameters


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A parameter's name, its full size, and the dimension along which tensor parallelism splits it, None where it does not.

    A Linear multiplies by its weight transposed, so "column-wise" splits dimension 0 of the weight and "row-wise" dimension 1.
    """

    name: str
    size: Size
    tp_dim: int | None


def fsdp_units(shape: Shape) -> list[list[Parameter]]:
    """What FSDP gathers together: first the root, which has what is in no block, then each block."""
    root = [
        Parameter(name="tok_embeddings.weight", size=(shape.vocab, shape.dim), tp_dim=0),
        Parameter(name="norm.weight", size=(shape.dim,), tp_dim=None),
        Parameter(name="output.weight", size=(shape.vocab, shape.dim), tp_dim=0),
    ]
    return [root, *(block_parameters(shape, layer) for layer in range(shape.layers))]


def block_parameters(shape: Shape, layer: int) -> list[Parameter]:
    """The nine parameters of one transformer block, in the order of `Module.parameters()`."""
    q, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    weights: list[tuple[str, Size, int | None]] = [
        ("attention_norm", (shape.dim,), None),
        ("attention.wq", (q, shape.dim), 0),
        ("attention.wk", (kv, shape.dim), 0),
        ("attention.wv", (kv, shape.dim), 0),
        ("attention.wo", (shape.dim, q), 1),
        ("ffn_norm", (shape.dim,), None),
        ("feed_forward.w1", (shape.ffn_dim, shape.dim), 0),
        ("feed_forward.w2", (shape.dim, shape.ffn_dim), 1),
        ("feed_forward.w3", (shape.ffn_dim, shape.dim), 0),
    ]
    return [Parameter(name=f"layers.{layer}.{name}.weight", size=size, tp_dim=tp_dim) for name, size, tp_dim in weights]


def parameters(shape: Shape) -> list[Parameter]:
    """All parameters, in the order of `Module.parameters()`."""
    (embedding, norm, output), *blocks = fsdp_units(shape)
    return [embedding, *(parameter for block in blocks for parameter in block), norm, output]


def parameter_count(shape: Shape) -> int:
    return elements(parameter.size for parameter in parameters(shape))


def rope_elements(job: Job) -> int:
    """Elements of the model's only buffer: a cosine and a sine for every position and pair of features."""
    return job.seq_len * (job.shape.head_dim // 2) * 2


def elements(sizes: Iterable[Size]) -> int:
    return sum(map(prod, sizes))


# ---- Sharding


def chunk_rows(rows: int, parts: int, index: int) -> int:
    """Rows of part `index` when torch.chunk splits `rows` in `parts`: each part is as large as the first until the rows run out."""
    rows_each = ceil(rows / parts)
    return max(0, min(rows_each, rows - index * rows_each))


def tp_local_size(parameter: Parameter, tp: int, tp_rank: int) -> Size:
    """What tensor parallelism leaves of a parameter on one rank. DTensor splits as torch.chunk does."""
    dim, size = parameter.tp_dim, parameter.size
    return size if dim is None else (*size[:dim], chunk_rows(size[dim], tp, tp_rank), *size[dim + 1 :])


def fsdp_local_size(size: Size, dp: int, dp_rank: int) -> Size:
    """What FSDP2 leaves of a tensor on one rank: a chunk of its rows, perhaps none."""
    return (chunk_rows(size[0], dp, dp_rank), *size[1:])


def fsdp_padded_size(size: Size, dp: int) -> Size:
    """The memory behind that chunk: on every rank as many rows as the largest chunk has, so that all send equally much."""
    return (ceil(size[0] / dp), *size[1:])
