"""All calls by subject, the most important subjects first."""

from collections.abc import Callable, Iterator, Mapping

from dev.gpu.kernel_calls import attention, convolutions, indexing, normalizations, optimizers, others, products, reductions, sorting
from dev.gpu.kernel_calls.call import Call

SECTIONS: Mapping[str, Callable[[], Iterator[Call]]] = {
    "workspaces": products.workspaces,
    "products": products.products,
    "attention": attention.attention,
    "embeddings": indexing.embeddings,
    "losses": normalizations.losses,
    "normalizations": normalizations.normalizations,
    "lists of tensors": optimizers.lists_of_tensors,
    "optimizers": optimizers.optimizers,
    "models": others.models,
    "indexing": indexing.indexing,
    "sorting": sorting.sorting,
    "reductions": reductions.reductions,
    "activations": normalizations.activations,
    "copies": others.copies,
    "layouts": others.layouts,
    "convolutions": convolutions.convolutions,
    "pooling": convolutions.pooling,
    "recurrent": convolutions.recurrent,
    "attention of cuDNN": attention.attention_of_cudnn,
    "linear algebra": others.linear_algebra,
    "transforms": others.transforms,
}
