"""Which kernel scaled_dot_product_attention selects, by CUDA's rules; the backward node's name identifies the kernel."""

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

from fakerun.analysis.memory.footprint import footprint_of
from fakerun.analysis.memory.timeline import timeline_of
from fakerun.torch_private import attention_priority
from tests.in_process import Simulate, simulation_of

FLASH, EFFICIENT, CUDNN, MATH = "Flash", "Efficient", "Cudnn", None
GROUPED_EFFICIENT = torch.__version__ >= "2.14"
CUDNN_FIRST = (SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One call and the kernel that it takes."""

    kernel: str | None
    dtype: torch.dtype = torch.bfloat16
    mask: str | None = None
    head: int = 64
    keys: int = 128
    key_heads: int = 4
    hardware: str = "h100-80gb"
    only: SDPBackend | None = None
    priority: tuple[SDPBackend, ...] = ()
    cudnn: int = 91002
    options: dict[str, Any] = field(default_factory=dict)


CASES = [
    Case(kernel=FLASH),
    Case(kernel=FLASH, dtype=torch.float16, options={"is_causal": True}),
    Case(kernel=FLASH, options={"dropout_p": 0.1}),
    Case(kernel=FLASH, head=256),
    Case(kernel=FLASH, key_heads=2, options={"enable_gqa": True}),
    Case(kernel=FLASH, keys=64),
    Case(kernel=EFFICIENT, keys=64, options={"is_causal": True}),
    Case(kernel=EFFICIENT, head=512),
    Case(kernel=EFFICIENT, mask="bool"),
    Case(kernel=EFFICIENT, mask="float"),
    Case(kernel=EFFICIENT, mask="padding"),
    Case(kernel=EFFICIENT, mask="bool", keys=100),
    Case(kernel=EFFICIENT, dtype=torch.float32),
    Case(kernel=EFFICIENT, dtype=torch.float32, mask="bool"),
    Case(kernel=EFFICIENT, dtype=torch.float32, head=20),
    Case(kernel=EFFICIENT if GROUPED_EFFICIENT else MATH, mask="bool", key_heads=2, options={"enable_gqa": True}),
    Case(
        kernel=EFFICIENT if GROUPED_EFFICIENT else MATH,
        mask="bool",
        key_heads=2,
        hardware="a100-40gb",
        options={"enable_gqa": True},
    ),
    Case(
        kernel=EFFICIENT if GROUPED_EFFICIENT else MATH,
        dtype=torch.float32,
        key_heads=2,
        options={"enable_gqa": True},
    ),
    Case(kernel=MATH, dtype=torch.float64),
    Case(kernel=MATH, dtype=torch.float32, head=5),
    Case(kernel=MATH, only=SDPBackend.MATH),
    Case(kernel=EFFICIENT, only=SDPBackend.EFFICIENT_ATTENTION),
    Case(kernel=CUDNN, only=SDPBackend.CUDNN_ATTENTION),
    Case(kernel=CUDNN, only=SDPBackend.CUDNN_ATTENTION, mask="bool"),
    # The script's order of priority.
    Case(kernel=CUDNN, priority=CUDNN_FIRST),
    Case(kernel=CUDNN, priority=CUDNN_FIRST, mask="bool"),
    Case(kernel=CUDNN, priority=CUDNN_FIRST, keys=64, options={"is_causal": True}),
    Case(kernel=CUDNN, priority=CUDNN_FIRST, head=256),
    Case(kernel=CUDNN, priority=CUDNN_FIRST, key_heads=2, options={"enable_gqa": True}),
    Case(kernel=CUDNN, priority=CUDNN_FIRST, hardware="a100-40gb"),
    Case(kernel=FLASH, priority=CUDNN_FIRST, hardware="a100-40gb", head=256),
    Case(kernel=FLASH, priority=CUDNN_FIRST, hardware="mi300x"),
    Case(kernel=FLASH, priority=CUDNN_FIRST, keys=1),
    Case(kernel=FLASH, priority=CUDNN_FIRST, head=36),
    Case(kernel=FLASH if GROUPED_EFFICIENT else CUDNN, priority=CUDNN_FIRST, options={"dropout_p": 0.1}),
    Case(kernel=CUDNN, priority=CUDNN_FIRST, options={"dropout_p": 0.125}),
    Case(kernel=FLASH, priority=CUDNN_FIRST, cudnn=91200, options={"dropout_p": 0.125}),
    Case(kernel=EFFICIENT, priority=CUDNN_FIRST, dtype=torch.float32),
    Case(kernel=EFFICIENT, priority=(SDPBackend.EFFICIENT_ATTENTION, SDPBackend.FLASH_ATTENTION)),
    Case(kernel=FLASH, priority=(SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION), cudnn=91900),
    Case(kernel=MATH, priority=(SDPBackend.MATH, SDPBackend.FLASH_ATTENTION)),
    # torch's own order where cuDNN is above 9.15.
    Case(kernel=CUDNN, cudnn=91900),
    Case(kernel=FLASH, cudnn=91500),
    Case(kernel=CUDNN, cudnn=91900, mask="bool"),
    Case(kernel=CUDNN, cudnn=91900, hardware="b200"),
    Case(kernel=FLASH, cudnn=91900, hardware="a100-40gb"),
    Case(kernel=FLASH, cudnn=91900, hardware="mi300x"),
]


def operands(case: Case) -> tuple[list[torch.Tensor], torch.Tensor | None]:
    tensors = [
        torch.empty(2, heads, length, case.head, dtype=case.dtype, device="cuda", requires_grad=True)
        for heads, length in ((4, 128), (case.key_heads, case.keys), (case.key_heads, case.keys))
    ]
    masks = {
        "bool": lambda: torch.empty(128, case.keys, dtype=torch.bool, device="cuda"),
        "float": lambda: torch.empty(128, case.keys, dtype=case.dtype, device="cuda"),
        "padding": lambda: torch.empty(2, 1, 1, case.keys, dtype=torch.bool, device="cuda"),
    }
    return tensors, masks[case.mask]() if case.mask else None


def nodes(output: torch.Tensor) -> set[str]:
    """The names of the backward nodes that lead to the operands."""
    names, pending = set(), [output.grad_fn]
    while pending:
        node = pending.pop()
        if node is not None:
            names.add(node.name())
            pending += [parent for parent, _ in node.next_functions]
    return names


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.kernel}-{case.dtype}-{case.mask}-{case.head}")
def test_the_kernel_is_cudas(case: Case, simulate: Simulate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: case.cudnn)
    simulation = simulate(hardware=case.hardware)
    (query, key, value), mask = operands(case)
    before = torch.cuda.memory_allocated()
    backends = list(case.priority) or ([case.only] if case.only else list(SDPBackend.__members__.values())[1:])
    with sdpa_kernel(backends, set_priority=bool(case.priority)):
        output = scaled_dot_product_attention(query, key, value, mask, **case.options)
    fused = {name.removeprefix("ScaledDotProduct").removesuffix("AttentionBackward0") for name in nodes(output) if "ScaledDot" in name}
    assert fused == ({case.kernel} if case.kernel else set())
    if case.keys > 1:
        scores = 2 * 4 * 128 * case.keys * query.element_size()
        peak_of_tensors = footprint_of(timeline_of(simulation.seen().program)).peak_bytes
        assert (peak_of_tensors - before >= scores + output.nbytes) == (case.kernel is MATH)
    output.sum().backward()
    for operand in (query, key, value):
        assert operand.grad is not None
        assert operand.grad.shape == operand.shape


def test_the_environment_puts_cudnn_behind_the_others(simulate: Simulate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91900)
    monkeypatch.setenv("TORCH_CUDNN_SDPA_DEPRIORITIZED", "1")
    simulate()
    (query, key, value), _ = operands(Case(kernel=FLASH))
    assert "ScaledDotProductFlashAttentionBackward0" in nodes(scaled_dot_product_attention(query, key, value))


def test_the_order_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91900)
    before = attention_priority()
    with simulation_of()[0]:
        assert attention_priority()[0] == SDPBackend.CUDNN_ATTENTION.value
    assert attention_priority() == before


def test_only_listed_operators_are_saved_by_selective_checkpointing(simulate: Simulate) -> None:
    """A list without cuDNN's operator saves nothing of a script that prefers cuDNN: backward calls it again."""
    simulate()
    saved = [torch.ops.aten._scaled_dot_product_flash_attention.default]
    (query, key, value), _ = operands(Case(kernel=CUDNN))

    def kept(priority: tuple[SDPBackend, ...]) -> int:
        before = torch.cuda.memory_allocated()
        with sdpa_kernel(list(priority), set_priority=True):
            output = checkpoint(
                lambda *tensors: scaled_dot_product_attention(*tensors).sin(),
                *(query, key, value),
                use_reentrant=False,
                context_fn=lambda: create_selective_checkpoint_contexts(saved),
            )
        return torch.cuda.memory_allocated() - before - output.nbytes

    attended = query.nbytes
    assert kept(CUDNN_FIRST) < attended <= kept((SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION))


def test_no_kernel_remains_to_select(simulate: Simulate) -> None:
    simulate()
    (query, key, value), _ = operands(Case(kernel=None, dtype=torch.float32))
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION), pytest.raises(RuntimeError, match=r"No available kernel\. Aborting execution\."):
        scaled_dot_product_attention(query, key, value)


@pytest.mark.parametrize("guard", [torch.no_grad, torch.inference_mode])
def test_without_gradients_only_the_output_stays(guard: Any, simulate: Simulate) -> None:
    simulate()
    (query, key, value), mask = operands(Case(kernel=None, mask="bool"))
    before = torch.cuda.memory_allocated()
    with guard():
        output = scaled_dot_product_attention(query, key, value, mask)
    assert torch.cuda.memory_allocated() - before == output.nbytes
