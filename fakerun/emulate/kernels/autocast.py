"""CUDA autocast for simulated tensors.

torch's own autocast kernels check in C++ whether a tensor is on CUDA, which simulated tensors are not. These kernels replace them on the
same dispatch key, with the same policies and the same cache of cast weights. The lists and the rules are those of
ATen/autocast_mode.h (torch 2.13).
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from fakerun.emulate.context import EmulationContext
from fakerun.emulate.device.devices import ACCELERATOR
from fakerun.errors import as_script_error
from fakerun.patching import Patches
from fakerun.torch_private import AUTOCAST_CUDA_KEYS, exclude_dispatch_keys, is_view, pytree, schema_of, unregister

_KEY = "AutocastCUDA"

LOWER_PRECISION = (
    "_convolution.deprecated", "_convolution", "conv1d", "conv2d", "conv3d", "conv_tbc", "conv_transpose1d", "conv_transpose2d.input",
    "conv_transpose3d.input", "convolution", "prelu", "addmm", "addmv", "addr", "matmul", "einsum", "mm", "mv", "linalg_vecdot",
    "linear", "addbmm", "baddbmm", "bmm", "chain_matmul", "linalg_multi_dot", "_thnn_fused_lstm_cell", "_thnn_fused_gru_cell",
    "lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell", "_scaled_dot_product_flash_attention", "scaled_dot_product_attention",
)  # fmt: skip
FP32 = (
    "acos", "asin", "cosh", "erfinv", "exp", "expm1", "log", "log10", "log2", "log1p", "reciprocal", "rsqrt", "sinh", "tan",
    "pow.Tensor_Scalar", "pow.Tensor_Tensor", "pow.Scalar", "softplus", "layer_norm", "native_layer_norm", "rms_norm", "group_norm",
    "frobenius_norm.dim", "nuclear_norm", "nuclear_norm.dim", "cosine_similarity", "poisson_nll_loss", "cosine_embedding_loss", "nll_loss",
    "nll_loss2d", "hinge_embedding_loss", "kl_div", "l1_loss", "smooth_l1_loss", "huber_loss", "mse_loss", "margin_ranking_loss",
    "multilabel_margin_loss", "soft_margin_loss", "triplet_margin_loss", "multi_margin_loss", "binary_cross_entropy_with_logits", "dist",
    "pdist", "cdist", "renorm", "logsumexp", "upsample_nearest1d", "_upsample_nearest_exact1d", "upsample_nearest2d",
    "_upsample_nearest_exact2d", "upsample_nearest3d", "_upsample_nearest_exact3d", "upsample_linear1d", "upsample_bilinear2d",
    "_upsample_bilinear2d_aa", "upsample_trilinear3d", "upsample_bicubic2d", "_upsample_bicubic2d_aa",
)  # fmt: skip
FP32_RESULT = (
    "prod", "prod.dim_int", "softmax.int", "log_softmax.int", "cumprod", "cumsum", "linalg_vector_norm", "linalg_matrix_norm",
    "linalg_matrix_norm.str_ord", "sum", "sum.dim_IntList", "norm.Scalar", "norm.ScalarOpt_dim",
)  # fmt: skip
WIDEST = ("addcdiv", "addcmul", "atan2", "bilinear", "cross", "dot", "vdot", "grid_sampler", "index_put", "tensordot", "scatter_add")
BANNED = ("binary_cross_entropy",)

_WITH_DTYPE = {"norm.Scalar": "norm.ScalarOpt_dtype", "norm.ScalarOpt_dim": "norm.ScalarOpt_dim_dtype"}
"""Operators whose fp32 result is asked for through another overload."""


@contextmanager
def simulated_autocast(_: EmulationContext) -> Iterator[None]:
    """Register the kernels and the cache for as long as the context lasts."""
    cache = _CastCache()
    library = torch.library.Library("aten", "IMPL")
    with warnings.catch_warnings(), Patches() as patches:
        warnings.simplefilter("ignore")  # torch warns that kernels are overridden; that is the purpose
        for names, policy in ((LOWER_PRECISION, _lower_precision(cache)), (FP32, _fp32), (FP32_RESULT, _fp32_result), (WIDEST, _widest)):
            for name in names:
                _register(library, name, policy)
        for name in BANNED:
            _register(library, name, _banned)
        clear = torch.clear_autocast_cache

        def clear_both() -> None:
            cache.clear()
            clear()

        patches.set(torch, "clear_autocast_cache", clear_both)
        try:
            yield
        finally:
            cache.clear()
            unregister(library)


Policy = Callable[[Any, Any, Sequence[Any], dict[str, Any]], Any]


def _register(library: torch.library.Library, name: str, policy: Policy) -> None:
    operator = _OPERATORS[name]
    with_dtype = _OPERATORS[_WITH_DTYPE[name]] if name in _WITH_DTYPE else None

    def kernel(*args: Any, **kwargs: Any) -> Any:
        with exclude_dispatch_keys(AUTOCAST_CUDA_KEYS):
            return policy(operator, with_dtype, args, kwargs)

    library.impl(operator, kernel, _KEY, allow_override=True)


def _operator(name: str) -> Any:
    packet, _, overload = name.partition(".")
    return getattr(getattr(torch.ops.aten, packet), overload or "default")


_OPERATORS = {name: _operator(name) for name in (*LOWER_PRECISION, *FP32, *FP32_RESULT, *WIDEST, *BANNED, *_WITH_DTYPE.values())}
"""By name. torch looks each up when it is first asked for: here, before ranks are forked, and not in each of them."""


class _CastCache:
    """Low-precision copies of fp32 leaf parameters, alive until the outermost autocast region ends: they are memory."""

    def __init__(self) -> None:
        self._casts: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def clear(self) -> None:
        self._casts.clear()

    def cast(self, tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """`tensor` in `dtype`, from the cache if it is a weight."""
        is_weight = tensor.dtype is torch.float32 and tensor.requires_grad and tensor.is_leaf and not is_view(tensor)
        if not (is_weight and torch.is_autocast_cache_enabled()):
            return tensor.to(dtype)
        entry = self._casts.get(id(tensor))
        if entry is None:
            with torch.enable_grad():  # as torch's own does: a copy made under no_grad serves those who need its gradient, too
                entry = self._casts[id(tensor)] = (tensor, tensor.to(dtype))
        return entry[1]


def _eligible(tensor: torch.Tensor) -> bool:
    return tensor.is_floating_point() and tensor.dtype is not torch.float64 and tensor.device.type == ACCELERATOR


def _lower_precision(cache: _CastCache) -> Policy:
    def policy(operator: Any, with_dtype: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        dtype = torch.get_autocast_dtype(ACCELERATOR)

        def cast(tensor: torch.Tensor) -> torch.Tensor:
            return cache.cast(tensor, dtype) if tensor.dtype is not dtype and _eligible(tensor) else tensor

        args, kwargs = _last_first(cast, args, kwargs)
        return operator(*args, **kwargs)

    return policy


def _last_first(
    cast: Callable[[torch.Tensor], torch.Tensor], args: Sequence[Any], kwargs: dict[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """Cast the last argument first: torch casts them within a call of C++, whose arguments its compiler evaluates from the last one on.

    Seen on an H200 (torch 2.11): a linear layer's weight is cast before its input.
    """
    named = {name: pytree.tree_map_only(torch.Tensor, cast, kwargs[name]) for name in reversed(kwargs)}
    positional = [pytree.tree_map_only(torch.Tensor, cast, argument) for argument in reversed(args)]
    return positional[::-1], named


def _cast_all(dtype: torch.dtype, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    return _last_first(lambda tensor: tensor.to(dtype) if _eligible(tensor) else tensor, args, kwargs)


def _fp32(operator: Any, with_dtype: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    args, kwargs = _cast_all(torch.float32, args, kwargs)
    return operator(*args, **kwargs)


def _fp32_result(operator: Any, with_dtype: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """The inputs stay as they are; the kernel is asked to accumulate and answer in fp32, unless the caller asked for a dtype."""
    if not _eligible(args[0]):
        return operator(*args, **kwargs)
    if with_dtype is not None:
        defaults = {
            argument.name: argument.default_value for argument in schema_of(operator).arguments[len(args) :] if argument.has_default_value()
        }
        return with_dtype(*args, **defaults | kwargs, dtype=torch.float32)
    names = [argument.name for argument in schema_of(operator).arguments]
    given = names.index("dtype") < len(args) and args[names.index("dtype")] is not None
    if given or kwargs.get("dtype") is not None:
        return operator(*args, **kwargs)
    if names.index("dtype") < len(args):
        return operator(*args[: names.index("dtype")], torch.float32, *args[names.index("dtype") + 1 :], **kwargs)
    return operator(*args, **{**kwargs, "dtype": torch.float32})


def _widest(operator: Any, with_dtype: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    tensors = [leaf for leaf in pytree.tree_leaves((list(args), kwargs)) if isinstance(leaf, torch.Tensor) and _eligible(leaf)]
    wide = any(tensor.dtype is torch.float32 for tensor in tensors)
    args, kwargs = _cast_all(torch.float32 if wide else torch.get_autocast_dtype(ACCELERATOR), args, kwargs)
    return operator(*args, **kwargs)


def _banned(operator: Any, with_dtype: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    error = RuntimeError(
        "torch.nn.functional.binary_cross_entropy and torch.nn.BCELoss are unsafe to autocast.\n"
        "Many models use a sigmoid layer right before the binary cross entropy layer.\n"
        "In this case, combine the two layers using torch.nn.functional.binary_cross_entropy_with_logits\n"
        "or torch.nn.BCEWithLogitsLoss.  binary_cross_entropy_with_logits and BCEWithLogits are\n"
        "safe to autocast."
    )
    raise as_script_error(error)
