"""Operations on lists of tensors, and steps of optimizers."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from dev.gpu.kernel_calls.call import Call, Made, call

BF16, F32 = torch.bfloat16, torch.float32
SHAPES = ((1024, 512), (512,), (33, 77), (1,), (4096, 768), (100_003,), (65_536,), (65_537,))
MANY = ((64, 64),) * 400


def _tensors(shapes: tuple[tuple[int, ...], ...], dtype: torch.dtype) -> list[torch.Tensor]:
    return [torch.randn(shape, dtype=dtype, device="cuda") for shape in shapes]


def _list(text: str, shapes: tuple[tuple[int, ...], ...], dtype: torch.dtype) -> Made:
    return Made(make=lambda: _tensors(shapes, dtype), text=f"{text} {str(dtype).removeprefix('torch.')}")


def _parameters(shapes: tuple[tuple[int, ...], ...], dtype: torch.dtype) -> list[torch.nn.Parameter]:
    parameters = [torch.nn.Parameter(tensor) for tensor in _tensors(shapes, dtype)]
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    return parameters


def _optimizer(
    make: Callable[..., torch.optim.Optimizer], options: dict[str, Any], shapes: tuple[tuple[int, ...], ...], dtype: torch.dtype
) -> Made:
    return Made(
        make=lambda: make(_parameters(shapes, dtype), **options),
        text=f"{make.__name__} {options} x{len(shapes)} {str(dtype).removeprefix('torch.')}",
    )


def _step(optimizer: torch.optim.Optimizer) -> None:
    optimizer.step()


def _lion(parameters: list[torch.nn.Parameter]) -> None:
    """A step as optimizers of users' own write it, tensor by tensor."""
    with torch.no_grad():
        for parameter in parameters:
            assert parameter.grad is not None
            momentum = parameter.grad * 0.9
            update = momentum.clone().mul_(0.9).add(parameter.grad, alpha=0.1).sign_()
            parameter.mul_(0.99).add_(update, alpha=-1e-4)


def lists_of_tensors() -> Iterator[Call]:
    foreach = torch
    for text, shapes in (("SHAPES", SHAPES), ("MANY", MANY)):
        for dtype in (F32, BF16):
            tensors = _list(text, shapes, dtype)
            for name in ("norm", "sqrt", "abs", "neg", "max", "reciprocal"):
                yield call(f"_foreach_{name}", getattr(foreach, f"_foreach_{name}"), tensors)
            for name in ("add", "mul", "div", "sub", "maximum", "pow"):
                yield call(f"_foreach_{name}", getattr(foreach, f"_foreach_{name}"), tensors, tensors)
            for name in ("add_", "mul_", "div_", "sub_"):
                yield call(f"_foreach_{name}", getattr(foreach, f"_foreach_{name}"), tensors, tensors)
            yield call("_foreach_mul_ scalar", torch._foreach_mul_, tensors, 0.5)
            yield call("_foreach_norm inf", torch._foreach_norm, tensors, float("inf"))  # noqa: SLF001
            yield call("_foreach_norm 1", torch._foreach_norm, tensors, 1)  # noqa: SLF001
            yield call("_foreach_addcdiv_", torch._foreach_addcdiv_, tensors, tensors, tensors, -0.1)
            yield call("_foreach_addcmul", torch._foreach_addcmul, tensors, tensors, tensors, -0.1)  # noqa: SLF001
            yield call("_foreach_lerp_", torch._foreach_lerp_, tensors, tensors, 0.1)
            yield call("_foreach_copy_", torch._foreach_copy_, tensors, tensors)
            yield call("_foreach_zero_", torch._foreach_zero_, tensors)
            yield call("_foreach_clamp_max_", torch._foreach_clamp_max_, tensors, 1.0)
            for options in ({}, {"foreach": True}, {"foreach": False}, {"norm_type": float("inf")}):
                parameters = Made(make=partial(_parameters, shapes, dtype), text=f"{text} {dtype}")
                yield call("clip_grad_norm_", torch.nn.utils.clip_grad_norm_, parameters, 1.0, **options)
            yield call("clip_grad_value_", torch.nn.utils.clip_grad_value_, parameters, 1.0)
    mixed = Made(make=lambda: [*_tensors(SHAPES, F32), *_tensors(SHAPES, BF16)], text="mixed")
    yield call("_foreach_norm", torch._foreach_norm, mixed)  # noqa: SLF001
    yield call("_foreach_copy_ of bf16", torch._foreach_copy_, _list("SHAPES", SHAPES, F32), _list("SHAPES", SHAPES, BF16))
    large = ((1 << 28,), (1 << 20,), (1024,))
    yield call("_foreach_norm large", torch._foreach_norm, _list("large", large, F32))  # noqa: SLF001
    yield call("_amp_foreach_non_finite_check_and_unscale_", _unscale, _list("SHAPES", SHAPES, F32))
    yield call("GradScaler", _scaler_step, _optimizer(torch.optim.SGD, {"lr": 0.1}, SHAPES, F32))
    yield call("GradScaler fused", _scaler_step, _optimizer(torch.optim.AdamW, {"lr": 0.1, "fused": True}, SHAPES, F32))
    yield call("parameters_to_vector", torch.nn.utils.parameters_to_vector, _list("SHAPES", SHAPES, F32))


def _unscale(tensors: list[torch.Tensor]) -> None:
    found, inverse = torch.zeros(1, device="cuda"), torch.ones(1, device="cuda")
    torch._amp_foreach_non_finite_check_and_unscale_(tensors, found, inverse)


def _scaler_step(optimizer: torch.optim.Optimizer) -> None:
    scaler = torch.amp.GradScaler("cuda")
    scaler.scale(torch.ones((), device="cuda"))
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()


def optimizers() -> Iterator[Call]:
    o = torch.optim
    forms: tuple[dict[str, Any], ...] = ({"foreach": True}, {"fused": True}, {"foreach": False}, {})
    kinds: tuple[tuple[Any, dict[str, Any]], ...] = (
        (o.AdamW, {}),
        (o.Adam, {}),
        (o.Adam, {"amsgrad": True, "weight_decay": 0.1}),
        (o.SGD, {"lr": 0.1}),
        (o.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}),
        (o.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
        (o.Adagrad, {}),
    )
    for shapes in (SHAPES, MANY):
        for dtype in (F32, BF16):
            for make, options in kinds:
                for form in forms if dtype is F32 else forms[:3]:
                    yield call("step", _step, _optimizer(make, {**options, **form}, shapes, dtype))
    without_fused = forms[0], forms[2]
    for make, options in (
        (o.RMSprop, {}),
        (o.RMSprop, {"momentum": 0.9, "centered": True}),
        (o.NAdam, {}),
        (o.RAdam, {}),
        (o.Adadelta, {}),
        (o.Adamax, {}),
        (o.ASGD, {}),
        (o.Rprop, {}),
    ):
        for form in without_fused:
            yield call("step", _step, _optimizer(make, {**options, **form}, SHAPES, F32))
    yield call("step capturable", _step, _optimizer(o.AdamW, {"capturable": True, "foreach": True}, SHAPES, F32))
    yield call("step maximize", _step, _optimizer(o.AdamW, {"maximize": True, "foreach": True}, SHAPES, F32))
    yield call("step differentiable lr", _step, _optimizer(o.Adafactor, {}, SHAPES, F32))
    if hasattr(o, "Muon"):
        matrices = tuple(shape for shape in SHAPES if len(shape) == 2)
        yield call("step", _step, _optimizer(o.Muon, {}, matrices, F32))
    for dtype in (F32, BF16):
        yield call("lion", _lion, Made(make=partial(_parameters, SHAPES, dtype), text=f"SHAPES {dtype}"))
