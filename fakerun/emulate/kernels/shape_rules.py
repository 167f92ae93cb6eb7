"""Output shapes of operators that have a CUDA kernel but no meta kernel, or a meta kernel that is wrong for CUDA (torch 2.13)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from fakerun.emulate.context import EmulationContext
from fakerun.emulate.device.mode import UNHANDLED, DeviceMode, Handler
from fakerun.torch_private import FakeTensor, overload_name

aten = torch.ops.aten

Rule = Callable[[Sequence[Any]], Any]
"""From the arguments to meta tensors like the outputs."""


def _like(*positions: int) -> Rule:
    """Outputs like these arguments."""

    def rule(args: Sequence[Any]) -> Any:
        made = tuple(torch.empty(args[position].shape, dtype=args[position].dtype, device="meta") for position in positions)
        return made[0] if len(made) == 1 else made

    return rule


def _fake_quantised(args: Sequence[Any]) -> tuple[torch.Tensor, torch.Tensor]:
    return _like(0)(args), torch.empty(args[0].shape, dtype=torch.bool, device="meta")


_RULES: Mapping[Any, Rule] = {
    aten._ctc_loss_backward.default: _like(1),
    aten._dirichlet_grad.default: _like(0),
    aten._fake_quantize_learnable_per_channel_affine.default: _like(0),
    aten._fake_quantize_learnable_per_channel_affine_backward.default: _like(1, 2, 3),
    aten._fake_quantize_learnable_per_tensor_affine.default: _like(0),
    aten._fake_quantize_learnable_per_tensor_affine_backward.default: _like(1, 2, 3),
    aten._fake_quantize_per_tensor_affine_cachemask_tensor_qparams.default: _fake_quantised,
    aten._masked_softmax.default: _like(0),
    aten._masked_softmax_backward.default: _like(0),
    aten._sample_dirichlet.default: _like(0),
    aten._standard_gamma.default: _like(0),  # torch 2.11; later ones have a meta kernel
    aten._standard_gamma_grad.default: _like(0),
    aten._transformer_encoder_layer_fwd.default: _like(0),  # torch 2.11; later ones have a meta kernel
    aten.binomial.default: _like(0),
    aten.fake_quantize_per_channel_affine_cachemask.default: _fake_quantised,
    aten.fake_quantize_per_tensor_affine_cachemask.default: _fake_quantised,
    aten.fractional_max_pool3d_backward.default: _like(1),
    aten.multi_margin_loss_backward.default: _like(1),
    aten.multilabel_margin_loss_backward.default: _like(1),
}

_IN_PLACE = (aten._fused_adagrad_, aten._fused_sgd_)
"""Optimizer steps on lists of tensors: they allocate nothing."""


def shape_rules(context: EmulationContext) -> None:
    """Register a handler for each of them."""
    mode = context.mode
    for operator, rule in _RULES.items():
        mode.handle_kernel(operator, _made(mode, rule))
    for packet in _IN_PLACE:
        for overload in packet.overloads():
            mode.handle_kernel(getattr(packet, overload), _stepped(mode))
    for packet in (aten._fused_adam_, aten._fused_adamw_):
        mode.handle(packet.tensor_lr, _with_number_for_rate(mode, packet.default))
    context.functions.handle(torch, "ctc_loss", _ctc_loss)
    for lerp in (aten.lerp_.Scalar, aten.lerp_.Tensor):
        mode.handle_kernel(lerp, _lerp_(mode))
    mode.handle_kernel(aten._pack_padded_sequence.default, _packed(mode))
    # A check of values, on which the encoder of nn.Transformer chooses nested tensors. They are not simulated; padded ones do the same.
    mode.handle(aten._nested_tensor_from_mask_left_aligned.default, lambda func, args, kwargs: False)


def _made(mode: DeviceMode, rule: Rule) -> Handler:
    def answer(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        if type(args[0]) is not FakeTensor:
            return UNHANDLED
        shapes = rule(args)
        several = isinstance(shapes, tuple)
        made = [mode.wrap(shape, args[0].fake_device) for shape in (shapes if several else (shapes,))]
        mode.allocations.tensors_created(made, derived=True)
        return tuple(made) if several else made[0]

    return answer


def _stepped(mode: DeviceMode) -> Handler:
    def answer(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        parameters = args[0]
        if type(parameters[0]) is not FakeTensor:
            return UNHANDLED
        for tensors in args:
            for tensor in tensors if isinstance(tensors, (list, tuple)) else ():
                mode.known.forget(tensor)
        return None

    return answer


def _with_number_for_rate(mode: DeviceMode, same: Any) -> Handler:
    """A learning rate that is a tensor allocates no more than a number, for which there is a shape rule."""

    def answer(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        if type(args[0][0]) is not FakeTensor:
            return UNHANDLED
        return mode.simulate_call(same, (), args, {**kwargs, "lr": 1.0})

    return answer


def _ctc_loss(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Pass the lengths as numbers, as CUDA reads them. torch leaves them on the host for tensor subclasses, and then divides by them."""
    numbers = [arg.tolist() if position in (2, 3) and isinstance(arg, torch.Tensor) else arg for position, arg in enumerate(args)]
    return func(*numbers, **kwargs)


def _lerp_(mode: DeviceMode) -> Handler:
    """`lerp_` has no meta kernel; `lerp` has."""

    def answer(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        if type(args[0]) is not FakeTensor:
            return UNHANDLED
        with mode.unobserved():
            mode.simulate_call(getattr(aten.lerp, overload_name(func)), (), args, dict(kwargs))
        mode.known.forget(args[0])
        return args[0]

    return answer


def _packed(mode: DeviceMode) -> Handler:
    """The packed size follows from the lengths, which are on the host."""

    def answer(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        padded, lengths = args[:2]
        if type(padded) is not FakeTensor:
            return UNHANDLED
        steps = torch.arange(int(lengths.max()))
        batch_sizes = (lengths[:, None] > steps).sum(0)
        shape = (int(lengths.sum()), *padded.shape[2:])
        data = mode.wrap(torch.empty(shape, dtype=padded.dtype, device="meta"), padded.fake_device)
        mode.allocations.tensors_created([data], derived=True)
        return data, batch_sizes

    return answer
