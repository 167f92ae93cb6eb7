"""What is known to differ between the record of the GPU and the prediction, by section and name of the call, each with its reason."""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownDifference:
    """Calls of a section whose names match, and why they differ."""

    section: str
    names: str
    reason: str
    since: str = ""
    """The torch since which they differ; those without one differ in the torch that was measured."""

    def covers(self, section: str, name: str) -> bool:
        return section == self.section and re.match(self.names, name) is not None


def _known(section: str, reason: str, *names: str, since: str = "") -> KnownDifference:
    return KnownDifference(section=section, names="|".join(f"(?:{name})" for name in names), reason=reason, since=since)


_VALUES = "the number of results, and of indices that masks are expanded to, depends on values"
_NOT_IN_PLACE = "while a dispatch mode is active, torch adds out of place what it adds in place on a GPU"
_DETERMINISTIC = "whether algorithms must be deterministic is not in the text of an operation"

NOT_SIMULATED = {
    "recurrent": "cuDNN runs a layer as one kernel; the emulation runs its steps",
    "convolutions": "workspaces of cuDNN's algorithms",
    "linear algebra": "workspaces of cuSOLVER and MAGMA",
}
"""Sections that are not compared."""

KNOWN_DIFFERENCES = (
    _known("workspaces", "a thread that the script starts has a handle of its own", r".* in thread"),
    _known("workspaces", "workspaces that the script gives back are taken again", r".* with workspaces given back"),
    _known("workspaces", "libraries that the script prefers are not recorded", r"mm by cuBLASLt"),
    _known("products", "the workspaces were given back before", r"mm\(bfloat16\[1024,512\]"),
    _known("products", "libraries that the script prefers are not recorded", r"mm by cuBLASLt"),
    _known("products", "products of slices, one by one", r"bilinear"),
    _known("attention", "the probability of dropout is not in the text of an operation; without it keys are split", r"sdpa flash dropout"),
    _known("attention", _NOT_IN_PLACE, r"sdpa math.*(is_causal=True|mask)", r"Multihead", r"Transformer"),
    _known("attention", "a mask of flags becomes one of numbers", r"sdpa efficient mask.*attn_mask=bool"),
    _known("embeddings", "few rows are summed in another way; more is predicted", r"embedding\(bfloat16\[2,768\]"),
    _known("embeddings", "sparse tensors on the device are not emulated", r"embedding(_bag)? sparse"),
    _known("embeddings", "rows that are renormalised", r"embedding max_norm"),
    _known("losses", _NOT_IN_PLACE, r"cross_entropy\(.*weight=.*label_smoothing", r"poisson", r"hinge", r"triplet", r"cosine"),
    _known("losses", "the gradient is composed of other operations", r"bce_logits", r"soft_margin"),
    _known("losses", "the loss keeps memory for all elements (`TORCH_META_FUNC(mse_loss)`)", r"mse_loss\(", r"mse_loss bf16", r"smooth_l1"),
    _known("losses", "targets and lengths on the device", r"ctc_loss"),
    _known("losses", "losses of samples before they are averaged", r"multi_margin", r"multilabel_margin"),
    _known("workspaces", "cuBLASLt takes cuBLAS's workspace", r".*linear with bias", since="2.12"),
    _known("attention", "the kernel takes groups of heads", r"sdpa efficient gqa", since="2.14"),
    _known("attention of cuDNN", "cuDNN is not taken with dropout", r"sdpa cudnn dropout", since="2.14"),
    _known("normalizations", "channels_last is not copied", r"group_norm\(.*channels_last", since="2.14"),
    _known("optimizers", "CUDA has the fused kernel", r"step\(Adagrad {'fused': True}", since="2.14"),
    _known("losses", "not in torch 2.11", r"linear cross_entropy", since="2.13"),
    _known("sorting", "composed of other operations", r"trunc_normal_", since="2.13"),
    _known("normalizations", "the emulation computes what the device refuses: types that differ", r"layer_norm mixed"),
    _known("normalizations", "cuDNN's workspace; sums by channel; statistics that evaluation does not have", r"batch_norm"),
    _known("lists of tensors", "norms of tensors of each type, which are staged", r"_foreach_norm\(mixed"),
    _known("models", "handles of the recomputation", r"mlp checkpoint\("),
    _known("models", "workspaces of cuDNN's algorithms", r"conv block"),
    _known("indexing", _VALUES, r".*mask", r"nonzero", r"masked_", r"repeat_interleave counts"),
    _known("indexing", _VALUES, r"unique (inverse|dim)", r"unique_consecutive", r"bincount", r"isin"),
    _known("indexing", _DETERMINISTIC, r".* deterministic"),
    _known("indexing", "the least and the largest value, which are looked for", r"(index_put|histc)\(float32\[1000000\]"),
    _known("indexing", "numbers of indices, copies of the source", r"index_reduce", r"scatter_reduce mean", r"count_nonzero"),
    _known("indexing", "the largest class is looked for", r"one_hot"),
    _known("sorting", "a sort for each slice, or with what a mask selects", r"nanmedian", r"mode"),
    _known("sorting", "state of the scan", r"logcumsumexp"),
    _known("sorting", "checks and sorts of probabilities", r"multinomial"),
    _known("sorting", "a copy of the mean", r"normal\("),
    _known("sorting", "workspaces of cuSOLVER", r"orthogonal_"),
    _known("reductions", "comparisons of all elements before they are reduced", r"equal", r"dist"),
    _known("reductions", "norms of rows before they are multiplied", r"cdist"),
    _known("copies", "the device of the result is not in the text of an operation", r"cpu"),
    _known("layouts", "one dimension after the other", r"roll two"),
    _known("layouts", "a gradient that is copied", r"einsum three"),
    _known("layouts", "the device refuses what overlaps", r"overlapping in place"),
    _known("pooling", "layouts that the kernel does not have are copied", r"(adaptive_max_pool2d|interpolate bicubic).*channels_last"),
    _known("pooling", "powers and products of the grid", r"affine_grid", r"lp_pool2d"),
    _known("attention of cuDNN", "a workspace of another engine for single queries", r"sdpa cudnn.*\[1,(?:1|32),(?:8|1),128\]"),
    _known("attention of cuDNN", "no logarithms of sums without a gradient", r"sdpa cudnn no gradient"),
    _known("attention of cuDNN", "a mask of flags becomes one of numbers", r"sdpa cudnn mask.*attn_mask=bool"),
    _known("transforms", "copies that cuFFT needs, and workspaces", r"irfft", r"rfft", r"fft\("),
)  # fmt: skip
