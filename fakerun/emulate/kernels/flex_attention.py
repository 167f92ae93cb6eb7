"""FlexAttention is its fused kernel: it makes an output and a log-sum-exp per query, never scores of S x S.

torch lets its compiler lift what a `score_mod` closes over into arguments; nothing is compiled here, so that learned biases would get
no gradients. They get them here.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FunctionType
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch.nn.attention.flex_attention import BlockMask, create_block_mask

from fakerun.emulate.context import EmulationContext
from fakerun.emulate.device.mode import UNHANDLED, DeviceMode
from fakerun.emulate.kernels.compilation import Compilation
from fakerun.patching import Patches
from fakerun.records.finding_code import FindingCode
from fakerun.records.observer import FindingSink
from fakerun.torch_private import FLEX_ATTENTION_OPERATOR, FakeTensor, disable_all_modes, pytree
from fakerun.units import format_bytes

aten = torch.ops.aten

_MOST_BLOCKS = 256
_IN_A_BLOCK = 3


@contextmanager
def fused_flex_attention(context: EmulationContext) -> Iterator[None]:
    """Answer for FlexAttention until the context ends."""
    compilation = context.part(Compilation)
    owner, name = FLEX_ATTENTION_OPERATOR
    operator = getattr(owner, name)

    kernels = _FusedKernels(context.mode)
    kernels.register()

    def attention(query: Any, key: Any, value: Any, score_mod: Any, *args: Any, **kwargs: Any) -> Any:
        if compilation.running == 0 and query.is_cuda:
            _note_unfused(context.findings, query, key)
        with kernels.example_values_left_out():
            output, *others = operator(query, key, value, score_mod, *args, **kwargs)
        captured = _captured(score_mod) if torch.is_grad_enabled() else []
        apply: Any = _WithGradients.apply
        return (apply(output, *captured) if captured else output, *others)

    compilation.replacements[create_block_mask] = _without_scores(context)
    with Patches() as patches:
        patches.set(owner, name, attention)
        yield


class _FusedKernels:
    """Handlers of the operators behind FlexAttention: each is one kernel."""

    def __init__(self, mode: DeviceMode) -> None:
        self._mode = mode
        self._makes_examples = False
        self._densities: WeakKeyDictionary[Any, dict[tuple[int, ...], float | None]] = WeakKeyDictionary()

    def register(self) -> None:
        self._mode.handle(torch.ops.higher_order.flex_attention, self._forward)
        self._mode.handle(torch.ops.higher_order.flex_attention_backward, self._backward)
        self._mode.handle(aten.new_zeros.default, self._example)

    @contextmanager
    def example_values_left_out(self) -> Iterator[None]:
        """Until the kernel runs, numbers that torch makes to trace `score_mod` with are not the script's: the compiler would do that."""
        previous, self._makes_examples = self._makes_examples, True
        try:
            yield
        finally:
            self._makes_examples = previous

    def _example(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        if not self._makes_examples or len(args[1]):
            return UNHANDLED
        with self._mode.unobserved():
            return self._mode.simulate_call(func, (), args, dict(kwargs))

    def _forward(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        return self._run(func, args, kwargs, args[:3], args[4])

    def _backward(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        return self._run(func, args, kwargs, (args[5], *args[:5]), args[9])

    def _run(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], tensors: Sequence[Any], block_mask: Any) -> Any:
        mode = self._mode
        with mode.unobserved():
            output = mode.higher_order(func, (), args, dict(kwargs))
            density = self._density(block_mask)
        made = [leaf for leaf in pytree.tree_leaves(output) if type(leaf) is FakeTensor]
        mode.allocations.tensors_created(made, derived=True)
        options = {} if density is None else {"density": f"{density:.3f}"}
        mode.executed_kernel(f"higher_order.{func.name()}.default", tensors, tuple(made), **options)
        return output

    def _density(self, block_mask: Any) -> float | None:
        """As `block_density`, once for each mask."""
        lengths, blocks, mask = block_mask[:2], block_mask[-3:-1], block_mask[-1]
        if not all(type(number) is int for number in (*lengths, *blocks)):
            return None
        known = self._densities.setdefault(mask, {})
        if (*lengths, *blocks) not in known:
            known[*lengths, *blocks] = block_density(mask, lengths, blocks)
        return known[*lengths, *blocks]


def block_density(mask: Callable[..., Any], lengths: Sequence[int], blocks: Sequence[int]) -> float | None:
    """The share of blocks of queries and keys that the kernel does not skip: those in which some pair is not masked.

    `mask` is FlexAttention's `mask_mod`, looked at for the first batch and head, in at most 256 blocks of each and at the edges and in the
    middle of a block. None if it reads tensors of the device, whose values are not known, or does not take several indices at once.
    """
    seen = [torch.tensor(_looked_at(length, block)) for length, block in zip(lengths, blocks, strict=True)]
    zero = torch.zeros((), dtype=torch.int64)
    try:
        with disable_all_modes():
            allowed = mask(zero, zero, seen[0][:, None], seen[1][None, :])
            if type(allowed) is not torch.Tensor or allowed.device.type != "cpu":
                return None
            allowed = allowed.bool().expand(len(seen[0]), len(seen[1]))
            in_blocks = allowed.unflatten(0, (-1, _IN_A_BLOCK)).unflatten(-1, (-1, _IN_A_BLOCK))
            return float(in_blocks.amax((1, 3)).float().mean())
    except Exception:  # a mask may do anything
        return None


def _looked_at(length: int, block: int) -> list[int]:
    """Positions in evenly spaced blocks, `_IN_A_BLOCK` of each."""
    count = -(-length // block)
    starts = [number * block for number in range(0, count, -(-count // _MOST_BLOCKS))]
    return [start + offset * (min(block, length - start) - 1) // (_IN_A_BLOCK - 1) for start in starts for offset in range(_IN_A_BLOCK)]


def _note_unfused(findings: FindingSink, query: torch.Tensor, key: torch.Tensor) -> None:
    scores = query.shape[:-1].numel() * key.shape[-2] * query.element_size()
    findings.note(
        FindingCode.UNFUSED_ATTENTION,
        f"flex_attention is called outside torch.compile, where it materialises all scores on a GPU ({format_bytes(scores)}). "
        "Memory was counted as for the fused kernel, without them.",
        hint="Call torch.compile(flex_attention), or compile the model that calls it.",
    )


def _without_scores(context: EmulationContext) -> Callable[..., BlockMask]:
    """Run compiled, `create_block_mask` makes its blocks without the S x S mask that it makes in eager mode."""

    def create(*args: Any, **kwargs: Any) -> BlockMask:
        with context.mode.unobserved():
            mask = create_block_mask(*args, **kwargs)
        tensors = [value for value in vars(mask).values() if type(value) is FakeTensor]
        context.allocations.tensors_created(tensors, derived=False)
        return mask

    return create


def _captured(function: Any) -> list[torch.Tensor]:
    """The tensors that a function closes over, or reads from its module, and that require a gradient."""
    if not isinstance(function, FunctionType):
        return []
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    read = [function.__globals__[name] for name in function.__code__.co_names if name in function.__globals__]
    found = [value for value in (*cells, *read) if isinstance(value, torch.Tensor) and value.requires_grad]
    return found + [tensor for inner in cells if isinstance(inner, FunctionType) for tensor in _captured(inner)]


class _WithGradients(torch.autograd.Function):
    """The output, with gradients for the captured tensors."""

    @staticmethod
    def forward(ctx: Any, output: torch.Tensor, *captured: torch.Tensor) -> torch.Tensor:
        ctx.captured = [(tensor.shape, tensor.dtype, tensor.device) for tensor in captured]
        return output.view_as(output)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        return (gradient, *(torch.empty(shape, dtype=dtype, device=device) for shape, dtype, device in ctx.captured))
