"""Normalisations, activations, dropout."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from dev.gpu.kernel_calls.call import Call, call, f, g, i, module, t
from dev.gpu.kernel_calls.contexts import without_cudnn
from torch import nn
from torch.nn import functional

HALF, BF16, F32 = torch.float16, torch.bfloat16, torch.float32


def _layer_norm(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    return functional.layer_norm(x, (x.shape[-1],), weight, bias)


def _rms_norm(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return functional.rms_norm(x, (x.shape[-1],), weight, 1e-5)


def normalizations() -> Iterator[Call]:
    for rows, columns in (
        (8192, 4096),
        (16_384, 768),
        (65_536, 768),
        (65_537, 768),
        (100_000, 64),
        (200_000, 1024),
        (131_072, 2048),
        (7, 33),
        (131_072, 4096),
        (1_000_000, 32),
        (70_000, 77),
    ):
        for dtype in (BF16, F32):
            yield call(
                "layer_norm", _layer_norm, g(rows, columns, dtype=dtype), g(columns, dtype=dtype), g(columns, dtype=dtype), backward=True
            )
            yield call("rms_norm", _rms_norm, g(rows, columns, dtype=dtype), g(columns, dtype=dtype), backward=True)
    yield call("layer_norm mixed", _layer_norm, g(16_384, 768), f(768, grad=True), f(768, grad=True), backward=True)
    yield call("layer_norm no bias", _layer_norm, g(100_000, 256), g(256), backward=True)
    yield call("layer_norm no weight", lambda x: functional.layer_norm(x, (768,)), g(16_384, 768), backward=True)
    yield call("rms_norm no weight", lambda x: functional.rms_norm(x, (768,)), g(16_384, 768), backward=True)
    yield call("rms_norm mixed", _rms_norm, g(8192, 4096), f(4096, grad=True), backward=True)
    yield call(
        "layer_norm transposed", _layer_norm, g(512, 64, 768, view=lambda x: x.transpose(0, 1), note="t"), g(768), g(768), backward=True
    )
    yield call(
        "layer_norm autocast",
        lambda x, w, c: torch.autocast("cuda", BF16)(_layer_norm)(x, w, c),
        g(16_384, 768),
        f(768, grad=True),
        f(768, grad=True),
        backward=True,
    )
    for shape, groups in (((8, 64, 32, 32), 8), ((2, 320, 64, 64), 32), ((16, 128), 4), ((4, 256, 1), 16), ((8, 96, 17), 3)):
        for dtype in (BF16, F32):
            weights = g(shape[1], dtype=dtype)
            yield call("group_norm", functional.group_norm, g(*shape, dtype=dtype), groups, weights, weights, backward=True)
    yield call("group_norm no weight", functional.group_norm, f(8, 64, 32, 32, grad=True), 8, backward=True)
    last: dict[str, Any] = {"view": lambda x: x.to(memory_format=torch.channels_last), "note": "channels_last"}
    yield call(
        "group_norm", functional.group_norm, f(8, 64, 32, 32, grad=True, **last), 8, f(64, grad=True), f(64, grad=True), backward=True
    )
    for shape in ((32, 64, 56, 56), (8, 2048, 7, 7), (256, 512), (64, 128, 100)):
        make: type[nn.Module] = nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d
        layouts: list[dict[str, Any]] = [{}, last] if len(shape) == 4 else [{}]
        for dtype, layout in ((dtype, layout) for dtype in (F32, BF16) for layout in layouts):
            norm = module(f"BatchNorm {shape[1]}", partial(make, shape[1]), F32)
            x = g(*shape, dtype=dtype, **layout)
            yield call("batch_norm", lambda m, x: m(x), norm, x, backward=True)
            yield call("batch_norm eval", lambda m, x: m.eval()(x), norm, x, backward=True)
            yield call("batch_norm without cudnn", lambda m, x: m(x), norm, x, backward=True, context=without_cudnn)
    norm = module("BatchNorm2d 64 half", lambda: nn.BatchNorm2d(64), HALF)
    yield call("batch_norm half weights", lambda m, x: m(x), norm, g(32, 64, 28, 28, dtype=HALF), backward=True)
    norm3d = module("BatchNorm3d 32", lambda: nn.BatchNorm3d(32))
    yield call("batch_norm", lambda m, x: m(x), norm3d, f(4, 32, 8, 28, 28, grad=True), backward=True)
    for shape in ((8, 64, 56, 56), (16, 32, 500)):
        yield call("instance_norm", functional.instance_norm, f(*shape, grad=True), backward=True)
        yield call(
            "instance_norm weight",
            lambda x, w: functional.instance_norm(x, weight=w, bias=w),
            f(*shape, grad=True),
            f(shape[1], grad=True),
            backward=True,
        )
    yield call("local_response_norm", functional.local_response_norm, f(4, 32, 28, 28, grad=True), 5, backward=True)


def activations() -> Iterator[Call]:
    for function in (
        functional.gelu,
        functional.silu,
        functional.relu,
        functional.sigmoid,
        functional.tanh,
        functional.softplus,
        functional.mish,
        functional.hardswish,
        functional.elu,
        functional.leaky_relu,
    ):
        yield call(function.__name__, function, g(4096, 4096), backward=True)
    yield call("gelu tanh", functional.gelu, g(4096, 4096), approximate="tanh", backward=True)
    yield call("glu", functional.glu, g(4096, 4096), backward=True)
    yield call("swiglu", lambda a, c: functional.silu(a) * c, g(4096, 4096), g(4096, 4096), backward=True)
    yield call("prelu", functional.prelu, f(16, 64, 28, 28, grad=True), f(64, grad=True), backward=True)
    yield call("prelu one", functional.prelu, f(16, 64, 28, 28, grad=True), f(1, grad=True), backward=True)
    for shape in ((4096, 4096), (33, 7)):
        for dtype in (BF16, F32):
            yield call("dropout", functional.dropout, g(*shape, dtype=dtype), 0.1, backward=True)
    yield call("dropout transposed", functional.dropout, g(512, 1024, view=lambda x: x.t(), note="t"), 0.1, backward=True)
    yield call("dropout eval", functional.dropout, g(512, 1024), 0.1, training=False, backward=True)
    yield call("dropout2d", functional.dropout2d, f(8, 64, 28, 28, grad=True), 0.1, backward=True)
    yield call("alpha_dropout", functional.alpha_dropout, f(512, 1024, grad=True), 0.1, backward=True)
    yield call("rrelu", functional.rrelu, f(512, 1024, grad=True), training=True, backward=True)
    yield call("gumbel_softmax", functional.gumbel_softmax, f(512, 64, grad=True), backward=True)


def losses() -> Iterator[Call]:
    cross_entropy = functional.cross_entropy
    for rows, classes in ((8192, 32_000), (4096, 128_256), (64, 10), (2048, 50_257)):
        for dtype in (BF16, F32):
            yield call("cross_entropy", cross_entropy, g(rows, classes, dtype=dtype), i(rows, high=classes), backward=True)
    logits, labels = f(4096, 1000, grad=True), i(4096, high=1000)
    for options in (
        {"label_smoothing": 0.1},
        {"ignore_index": 0},
        {"reduction": "sum"},
        {"reduction": "none"},
        {"weight": f(1000)},
        {"weight": f(1000), "label_smoothing": 0.1},
        {"reduction": "none", "label_smoothing": 0.1},
    ):
        yield call("cross_entropy", cross_entropy, logits, labels, **options, backward=True)
    yield call("cross_entropy of float", lambda x, y: cross_entropy(x.float(), y), g(4096, 32_000), i(4096, high=32_000), backward=True)
    yield call("cross_entropy 2d", cross_entropy, f(4, 21, 128, 128, grad=True), i(4, 128, 128, high=21), backward=True)
    yield call(
        "cross_entropy 2d sum", cross_entropy, f(4, 21, 128, 128, grad=True), i(4, 128, 128, high=21), reduction="sum", backward=True
    )
    yield call(
        "cross_entropy 2d none", cross_entropy, f(4, 21, 128, 128, grad=True), i(4, 128, 128, high=21), reduction="none", backward=True
    )
    yield call("cross_entropy 2d bf16", cross_entropy, g(4, 21, 128, 128), i(4, 128, 128, high=21), backward=True)
    yield call("cross_entropy probabilities", cross_entropy, logits, f(4096, 1000), backward=True)
    yield call("cross_entropy 3d", cross_entropy, f(8, 1000, 512, grad=True), i(8, 512, high=1000), backward=True)
    yield call("nll_loss", functional.nll_loss, logits, labels, backward=True)
    yield call("nll_loss none", functional.nll_loss, logits, labels, reduction="none", backward=True)
    yield call(
        "linear cross_entropy",
        getattr(functional, "linear_cross_entropy", None) or _no_linear_cross_entropy,
        g(1024, 512),
        g(32_000, 512),
        i(1024, high=32_000),
        backward=True,
    )
    x, y = f(4096, 256, grad=True), f(4096, 256, view=lambda x: x.sigmoid(), note="sigmoid")
    yield call("bce_logits", functional.binary_cross_entropy_with_logits, x, y, backward=True)
    yield call("bce_logits weight", functional.binary_cross_entropy_with_logits, x, y, pos_weight=f(256), backward=True)
    yield call("bce", lambda x, y: functional.binary_cross_entropy(x.sigmoid(), y), x, y, backward=True)
    for function in (
        functional.mse_loss,
        functional.l1_loss,
        functional.smooth_l1_loss,
        functional.huber_loss,
        functional.kl_div,
        functional.poisson_nll_loss,
        functional.soft_margin_loss,
        functional.hinge_embedding_loss,
    ):
        yield call(function.__name__, function, x, y, backward=True)
    yield call("mse_loss bf16", functional.mse_loss, g(4096, 4096), t(4096, 4096), backward=True)
    yield call("mse_loss none", functional.mse_loss, g(4096, 4096), t(4096, 4096), reduction="none", backward=True)
    yield call("multi_margin_loss", functional.multi_margin_loss, f(512, 100, grad=True), i(512, high=100), backward=True)
    yield call("multilabel_margin_loss", functional.multilabel_margin_loss, f(64, 20, grad=True), i(64, 20, high=20), backward=True)
    yield call("triplet_margin_loss", functional.triplet_margin_loss, x, f(4096, 256), f(4096, 256), backward=True)
    yield call(
        "cosine_embedding_loss", functional.cosine_embedding_loss, x, f(4096, 256), f(4096, view=torch.sign, note="sign"), backward=True
    )
    for batch, frames, target in ((16, 200, 30), (4, 50, 10)):
        yield call("ctc_loss", _ctc, f(frames, batch, 40, grad=True), i(batch, target, high=39), backward=True)
        yield call("ctc_loss cudnn", _ctc_cudnn, f(frames, batch, 40, grad=True), batch, target, backward=True)


def _no_linear_cross_entropy(*args: Any) -> torch.Tensor:
    raise NotImplementedError("not in this torch")


def _ctc(x: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    frames, batch = x.shape[:2]
    lengths = torch.full((batch,), frames), torch.full((batch,), targets.shape[1])
    return functional.ctc_loss(x.log_softmax(-1), targets + 1, *lengths)


def _ctc_cudnn(x: torch.Tensor, batch: int, target: int) -> torch.Tensor:
    """CuDNN takes int32 targets on the host, one after the other."""
    lengths = torch.full((batch,), x.shape[0], dtype=torch.int32), torch.full((batch,), target, dtype=torch.int32)
    targets = torch.ones(batch * target, dtype=torch.int32)
    return functional.ctc_loss(x.log_softmax(-1), targets, *lengths)
