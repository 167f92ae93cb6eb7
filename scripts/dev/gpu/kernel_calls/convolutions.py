"""Convolutions, recurrent layers, pooling and interpolation."""

from collections.abc import Iterator
from functools import partial
from typing import Any, TypeAlias

import torch
from dev.gpu.kernel_calls.call import Call, call, f, g, module, t
from dev.gpu.kernel_calls.contexts import cudnn_benchmark, deterministic, without_cudnn
from torch import nn
from torch.nn import functional

HALF, BF16, F32 = torch.float16, torch.bfloat16, torch.float32

Convolution: TypeAlias = tuple[str, tuple[int, ...], tuple[int, ...], dict[str, Any]]
"""Name, sizes of the input and of the weight, options."""

RESNET50: tuple[Convolution, ...] = (
    ("stem", (32, 3, 224, 224), (64, 3, 7, 7), {"stride": 2, "padding": 3}),
    ("1x1", (32, 64, 56, 56), (64, 64, 1, 1), {}),
    ("3x3", (32, 64, 56, 56), (64, 64, 3, 3), {"padding": 1}),
    ("expand", (32, 64, 56, 56), (256, 64, 1, 1), {}),
    ("stride", (32, 128, 56, 56), (128, 128, 3, 3), {"padding": 1, "stride": 2}),
    ("shortcut", (32, 256, 56, 56), (512, 256, 1, 1), {"stride": 2}),
    ("deep", (32, 512, 7, 7), (512, 512, 3, 3), {"padding": 1}),
    ("last", (32, 512, 7, 7), (2048, 512, 1, 1), {}),
)
OTHERS: tuple[Convolution, ...] = (
    ("patch 16", (32, 3, 224, 224), (768, 3, 16, 16), {"stride": 16}),
    ("patch 14", (8, 3, 336, 336), (1024, 3, 14, 14), {"stride": 14}),
    ("depthwise", (16, 96, 56, 56), (96, 1, 7, 7), {"padding": 3, "groups": 96}),
    ("depthwise small", (16, 32, 28, 28), (32, 1, 3, 3), {"padding": 1, "groups": 32}),
    ("grouped", (16, 128, 28, 28), (128, 4, 3, 3), {"padding": 1, "groups": 32}),
    ("dilated", (8, 64, 64, 64), (64, 64, 3, 3), {"padding": 2, "dilation": 2}),
    ("unet", (4, 320, 64, 64), (320, 320, 3, 3), {"padding": 1}),
    ("odd", (3, 5, 17, 19), (7, 5, 3, 3), {}),
)

_LAYERS: tuple[dict[str, Any], ...] = ({}, {"num_layers": 2, "dropout": 0.1}, {"bidirectional": True})


def convolutions() -> Iterator[Call]:
    last: dict[str, Any] = {"view": lambda x: x.to(memory_format=torch.channels_last), "note": "channels_last"}
    plain: dict[str, Any] = {}
    for text, input_sizes, weight, options in (*RESNET50, *OTHERS):
        for dtype, layout in ((F32, plain), (BF16, plain), (BF16, last), (HALF, last)):
            arguments = (g(*input_sizes, dtype=dtype, **layout), g(*weight, dtype=dtype, **layout))
            yield call(f"conv2d {text}", functional.conv2d, *arguments, **options, backward=True)
    for text, input_sizes, weight, options in (RESNET50[2], RESNET50[0], OTHERS[0], OTHERS[2], OTHERS[6]):
        for dtype, layout in ((F32, plain), (BF16, last)):
            arguments = (g(*input_sizes, dtype=dtype, **layout), g(*weight, dtype=dtype, **layout))
            yield call(f"conv2d {text} benchmark", functional.conv2d, *arguments, **options, backward=True, context=cudnn_benchmark)
    text, input_sizes, weight, options = RESNET50[2]
    arguments = (f(*input_sizes, grad=True), f(*weight, grad=True))
    yield call("conv2d deterministic", functional.conv2d, *arguments, **options, backward=True, context=deterministic)
    yield call("conv2d without cudnn", functional.conv2d, *arguments, **options, backward=True, context=without_cudnn)
    yield call("conv2d bias", functional.conv2d, *arguments, f(64, grad=True), **options, backward=True)
    yield call("conv2d no gradient", functional.conv2d, f(*input_sizes), f(*weight), f(64), **options)
    yield call("conv2d patch bias", functional.conv2d, g(32, 3, 224, 224), g(768, 3, 16, 16), g(768), stride=16, backward=True)
    for dtype in (F32, BF16):
        yield call(
            "conv1d",
            functional.conv1d,
            g(8, 80, 3000, dtype=dtype),
            g(384, 80, 3, dtype=dtype),
            g(384, dtype=dtype),
            padding=1,
            backward=True,
        )
        yield call(
            "conv1d stride",
            functional.conv1d,
            g(8, 384, 3000, dtype=dtype),
            g(384, 384, 3, dtype=dtype),
            stride=2,
            padding=1,
            backward=True,
        )
        yield call(
            "conv1d causal depthwise",
            functional.conv1d,
            g(4, 1024, 2051, dtype=dtype),
            g(1024, 1, 4, dtype=dtype),
            groups=1024,
            backward=True,
        )
        yield call(
            "conv3d", functional.conv3d, g(2, 16, 16, 56, 56, dtype=dtype), g(32, 16, 3, 3, 3, dtype=dtype), padding=1, backward=True
        )
        yield call(
            "conv3d patch",
            functional.conv3d,
            g(2, 3, 16, 112, 112, dtype=dtype),
            g(384, 3, 2, 16, 16, dtype=dtype),
            stride=(2, 16, 16),
            backward=True,
        )
        yield call(
            "conv_transpose2d",
            functional.conv_transpose2d,
            g(8, 256, 28, 28, dtype=dtype),
            g(256, 128, 2, 2, dtype=dtype),
            stride=2,
            backward=True,
        )
        yield call(
            "conv_transpose1d",
            functional.conv_transpose1d,
            g(4, 256, 500, dtype=dtype),
            g(256, 128, 4, dtype=dtype),
            stride=2,
            padding=1,
            backward=True,
        )
        yield call(
            "conv_transpose3d",
            functional.conv_transpose3d,
            g(2, 32, 8, 28, 28, dtype=dtype),
            g(32, 16, 2, 2, 2, dtype=dtype),
            stride=2,
            backward=True,
        )
    yield call("unfold", functional.unfold, f(8, 64, 28, 28, grad=True), 3, padding=1, backward=True)
    yield call("fold", lambda x: functional.fold(x, (28, 28), 3, padding=1), f(8, 576, 784, grad=True), backward=True)


def recurrent() -> Iterator[Call]:
    for dtype in (F32, BF16):
        for make in (nn.LSTM, nn.GRU, nn.RNN):
            for options in _LAYERS:
                layer = module(f"{make.__name__} 256 512 {options}", partial(make, 256, 512, **options), dtype)
                yield call(make.__name__, lambda m, x: m(x)[0], layer, g(100, 16, 256, dtype=dtype), backward=True)
        layer = module("LSTM 256 512", lambda: nn.LSTM(256, 512, batch_first=True), dtype)
        yield call("LSTM eval", lambda m, x: m.eval()(x)[0], layer, t(16, 100, 256, dtype=dtype))
        yield call("LSTM without cudnn", lambda m, x: m(x)[0], layer, g(4, 10, 256, dtype=dtype), backward=True, context=without_cudnn)
        cell = module("LSTMCell 256 512", lambda: nn.LSTMCell(256, 512), dtype)
        yield call("LSTMCell", lambda m, x: m(x)[0], cell, g(16, 256, dtype=dtype), backward=True)
        gru = module("GRUCell 256 512", lambda: nn.GRUCell(256, 512), dtype)
        yield call("GRUCell", lambda m, x: m(x), gru, g(16, 256, dtype=dtype), backward=True)


def pooling() -> Iterator[Call]:
    last: dict[str, Any] = {"view": lambda x: x.to(memory_format=torch.channels_last), "note": "channels_last"}
    layouts: tuple[dict[str, Any], ...] = ({}, last)
    for dtype in (F32, BF16):
        for layout in layouts:
            x = g(16, 64, 112, 112, dtype=dtype, **layout)
            yield call("max_pool2d", functional.max_pool2d, x, 3, stride=2, padding=1, backward=True)
            yield call("avg_pool2d", functional.avg_pool2d, x, 2, backward=True)
            yield call("adaptive_avg_pool2d", functional.adaptive_avg_pool2d, x, 1, backward=True)
            yield call("adaptive_avg_pool2d", functional.adaptive_avg_pool2d, x, 7, backward=True)
            yield call("adaptive_max_pool2d", functional.adaptive_max_pool2d, x, 7, backward=True)
            for mode in ("nearest", "bilinear", "bicubic"):
                yield call(f"interpolate {mode}", functional.interpolate, x, scale_factor=2, mode=mode, backward=True)
        yield call(
            "interpolate antialias",
            functional.interpolate,
            g(4, 3, 256, 256, dtype=dtype),
            size=(100, 100),
            mode="bilinear",
            antialias=True,
            backward=True,
        )
        yield call("max_pool1d", functional.max_pool1d, g(16, 64, 1000, dtype=dtype), 2, backward=True)
        yield call("max_pool3d", functional.max_pool3d, g(2, 16, 16, 56, 56, dtype=dtype), 2, backward=True)
        yield call("avg_pool3d", functional.avg_pool3d, g(2, 16, 16, 56, 56, dtype=dtype), 2, backward=True)
        yield call("pad reflect", functional.pad, g(8, 64, 56, 56, dtype=dtype), (3, 3, 3, 3), mode="reflect", backward=True)
        yield call("pad", functional.pad, g(8, 64, 56, 56, dtype=dtype), (3, 3, 3, 3), backward=True)
    yield call(
        "grid_sample", functional.grid_sample, f(4, 32, 56, 56, grad=True), f(4, 28, 28, 2, grad=True), align_corners=False, backward=True
    )
    yield call("affine_grid", functional.affine_grid, f(4, 2, 3, grad=True), [4, 32, 56, 56], align_corners=False, backward=True)
    yield call("pixel_shuffle", functional.pixel_shuffle, f(4, 64, 56, 56, grad=True), 2, backward=True)
    yield call("fractional_max_pool2d", functional.fractional_max_pool2d, f(4, 32, 56, 56, grad=True), 3, output_size=28, backward=True)
    yield call("lp_pool2d", functional.lp_pool2d, f(4, 32, 56, 56, grad=True), 2, 3, backward=True)
