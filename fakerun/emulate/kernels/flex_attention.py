"""FlexAttention takes the memory of its fused kernel: an output and a log-sum-exp per query, never scores of S x S.

torch lets its compiler lift what a `score_mod` closes over into arguments; nothing is compiled here, so that learned biases would get
no gradients. They get them here.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any

import torch
from torch.nn.attention.flex_attention import BlockMask, create_block_mask

from fakerun.emulate.context import EmulationContext
from fakerun.emulate.kernels.compilation import Compilation
from fakerun.patching import Patches
from fakerun.records.finding_code import FindingCode
from fakerun.records.observer import FindingSink
from fakerun.torch_private import FLEX_ATTENTION_OPERATOR, FakeTensor
from fakerun.units import format_bytes


@contextmanager
def fused_flex_attention(context: EmulationContext) -> Iterator[None]:
    """Answer for FlexAttention until the context ends."""
    compilation = context.part(Compilation)
    owner, name = FLEX_ATTENTION_OPERATOR
    operator = getattr(owner, name)

    def attention(query: Any, key: Any, value: Any, score_mod: Any, *args: Any, **kwargs: Any) -> Any:
        if compilation.running == 0 and query.is_cuda:
            _note_unfused(context.findings, query, key)
        output, *others = operator(query, key, value, score_mod, *args, **kwargs)
        captured = _captured(score_mod) if torch.is_grad_enabled() else []
        apply: Any = _WithGradients.apply
        return (apply(output, *captured) if captured else output, *others)

    compilation.replacements[create_block_mask] = _without_scores(context)
    with Patches() as patches:
        patches.set(owner, name, attention)
        yield


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
