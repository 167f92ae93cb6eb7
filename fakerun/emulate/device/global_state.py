"""The settings of torch that may change the result of an operator: which of them cached results are kept under, and why not the others.

The mode keeps the results of operators by `Signature.key_of`, which begins with the operator and the settings in `IN_KEY` and `RECORDED`.
The other caches of the emulation hold what does not depend on settings: schemas (`MutatedArguments`, `HostPolicy`), shard sizes and meshes
by their own geometry (`dtensor`, `mesh`). The copies of weights that autocast keeps are torch's design, and end with the outermost autocast
region.
"""

from collections.abc import Mapping
from typing import Any

from torch import get_default_dtype, get_deterministic_debug_mode

from fakerun.torch_private import are_algorithms_deterministic, float32_precision

IN_KEY: Mapping[str, str] = {
    "default dtype": "an operator with a Python number or with integers makes tensors of this dtype",
    "deterministic algorithms": "operators without a deterministic implementation are refused, or warned of",
}
"""The settings that results are kept under, and what they change."""

RECORDED: Mapping[str, str] = {
    "precision of matrix products": "with TF32 a product takes a fraction of the time, which its operation in the record says",
}
"""Those that change no result, but what is recorded of an operator."""

LEFT_OUT: Mapping[str, str] = {
    "grad mode": "autograd comes before the mode; kernels below it do not ask",
    "inference mode": "tensors are made anew for each call, and are inference tensors if inference mode is on then",
    "autocast": "casts come before the mode, as operators of their own",
    "SDPA backends": "the kernel is chosen before the mode, and is an operator of its own",
    "default device": "it comes before the mode, as the argument `device` of factories",
    "cuDNN": "meta kernels do not choose a backend; `enabled`, `benchmark` and `deterministic` change no shape",
    "MKL-DNN": "meta kernels do not choose a backend",
    "number of threads": "it changes the speed of host kernels only",
    "anomaly mode": "autograd comes before the mode",
}
"""The settings that results are not kept under, and why they make no difference."""


def beginning_of_key(func: Any) -> tuple[Any, ...]:
    """The operator, the default dtype, whether algorithms must be deterministic (0 no, 1 warn, 2 refuse), and whether products use TF32."""
    return func, get_default_dtype(), are_algorithms_deterministic() and get_deterministic_debug_mode(), products_use_tf32()


def products_use_tf32() -> bool:
    """Whether matrix products of float32 are computed with the TF32 of the matrix units."""
    return bool(float32_precision("cuda", "matmul") == "tf32")
