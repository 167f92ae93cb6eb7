"""Train with a checkout of torchtitan, its tokenizer and data replaced by zeros: the program of a published run without what it downloads.

    python scripts/dev/torchtitan_on_zeros.py CHECKOUT --job.config_file CHECKOUT/train_configs/llama3_8b.toml

Nothing of the model, of how it is distributed, of the loss or of the optimizer is touched. Packages that the checkout imports for data,
checkpoints and logs and that are not installed are stood in for. An option before CHECKOUT:

    --chunked-loss  the loss that the run's pull request added: `chunked_cross_entropy_loss` of the checkout
"""

import argparse
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import runpy
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor

VOCABULARIES = {"sentencepiece": 32_000, "tiktoken": 128_256}
"""Sizes by the tokenizer's kind: of Llama 2 and of Llama 3."""

STOOD_IN_FOR = frozenset(
    {"sentencepiece", "torchdata", "datasets", "tiktoken", "torchao", "tensorboard", "blobfile", "tyro", "wandb", "tokenizers"}
)


class Inert:
    """A class of a package that is not installed: takes any arguments, and does nothing."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def __call__(self, *args: object, **kwargs: object) -> "Inert":
        """As a decorator: what it decorates does nothing, as a Triton kernel that is launched writes into tensors that are there."""
        return Inert()

    def __getitem__(self, grid: object) -> "Inert":
        return self

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *args, **kwargs: None


class Placeholder(ModuleType):
    """A package that is not installed: every name in it is an inert class."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__ = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        made = type(name, (Inert,), {})
        setattr(self, name, made)
        return made


class PlaceholderFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds modules of packages that are not installed."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> importlib.machinery.ModuleSpec | None:
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if name.partition(".")[0] in STOOD_IN_FOR else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return Placeholder(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


@contextmanager
def stood_in_for_triton() -> Iterator[None]:
    """Modules of the checkout that define Triton kernels can be imported without Triton; torch must not take it for installed."""
    if importlib.util.find_spec("triton"):
        yield
        return
    triton, language = Placeholder("triton"), Placeholder("triton.language")
    triton.next_power_of_2 = lambda n: 1 << (n - 1).bit_length()  # type: ignore[attr-defined]
    setattr(triton, "language", language)  # noqa: B010  a module has no such attribute for the type checker
    sys.modules.update({each.__name__: each for each in (triton, language)})
    try:
        yield
    finally:
        del sys.modules["triton"], sys.modules["triton.language"]


class Zeros:
    """A data loader: batches of token 0, on the host, without an end; it has no state to save. Inputs by name, if `named`."""

    def __init__(self, batch_size: int, seq_len: int, *, named: bool = False) -> None:
        self.shape = batch_size, seq_len
        self.named = named

    def __iter__(self) -> Iterator[tuple[Tensor | dict[str, Tensor], Tensor]]:
        while True:
            inputs = torch.zeros(self.shape, dtype=torch.int64)
            yield {"input": inputs} if self.named else inputs, torch.zeros(self.shape, dtype=torch.int64)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


def replace_in_flat_layout() -> None:
    """Torchtitan until February 2025: `train.py` takes tokenizer, data and models from modules of the package."""
    datasets = importlib.import_module("torchtitan.datasets")
    importlib.import_module("torchtitan.parallelisms")  # with the models, while Triton is stood in for

    def build_data_loader(name: str, path: object, tokenizer: object, batch_size: int, seq_len: int, *ranks: int) -> Zeros:
        return Zeros(batch_size, seq_len)

    patched: dict[str, Any] = {
        "build_hf_data_loader": build_data_loader,
        "build_tokenizer": lambda kind, path: SimpleNamespace(n_words=VOCABULARIES[kind]),
    }
    for name, value in patched.items():
        setattr(datasets, name, value)


def replace_in_specs(options: argparse.Namespace) -> None:
    """Torchtitan from March 2025: a `TrainSpec` names what a model is trained with; later it builds the loss, and inputs have names."""
    importlib.import_module("torchtitan.models")
    specs = importlib.import_module("torchtitan.protocols.train_spec")
    loss = importlib.import_module("torchtitan.components.loss")

    def build_data_loader(*, job_config: Any, **others: object) -> Zeros:
        training = job_config.training
        if hasattr(training, "local_batch_size"):
            return Zeros(training.local_batch_size, training.seq_len, named=True)
        return Zeros(training.batch_size, training.seq_len)

    def replaced(spec: Any) -> Any:
        losses: dict[str, Any] = {}
        if not hasattr(spec, "build_loss_fn"):
            losses["loss_fn"] = loss.chunked_cross_entropy_loss if options.chunked_loss else loss.cross_entropy_loss
        return replace(
            spec,
            build_dataloader_fn=build_data_loader,
            build_tokenizer_fn=lambda *args, **kwargs: SimpleNamespace(n_words=VOCABULARIES["tiktoken"], eos_id=0),
            **losses,
        )

    specs.apply_to_train_specs(replaced)


def let_float8_tensors_be_gathered() -> None:
    """Torchao of the commit's time does not know an operator that later torch wraps what functional collectives return with."""
    if importlib.util.find_spec("torchao") is None:
        return
    operators = importlib.import_module("torchao.float8.float8_ops")
    functional = torch.ops._c10d_functional  # noqa: SLF001
    known = getattr(operators, "FLOAT8_OPS_TABLE", {})
    if hasattr(functional, "_wrap_tensor_autograd") and functional.wait_tensor.default in known:
        known.setdefault(functional._wrap_tensor_autograd.default, known[functional.wait_tensor.default])  # noqa: SLF001


def parse_args() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(description="Train with a checkout of torchtitan on zeros.", allow_abbrev=False)
    parser.add_argument("--chunked-loss", action="store_true")
    parser.add_argument("checkout", type=Path)
    return parser.parse_known_args()


def main() -> None:
    options, arguments = parse_args()
    sys.path.insert(0, str(options.checkout))
    let_float8_tensors_be_gathered()
    sys.meta_path.append(PlaceholderFinder())
    sys.modules["torch.utils.tensorboard"] = Placeholder("torch.utils.tensorboard")  # its own check of versions would refuse
    flat = options.checkout / "train.py"
    train = flat if flat.exists() else options.checkout / "torchtitan" / "train.py"
    sys.argv = [str(train), *arguments]  # before the checkout is imported: it makes them the default of a parameter
    with stood_in_for_triton():
        replace_in_flat_layout() if flat.exists() else replace_in_specs(options)
    runpy.run_path(str(train), run_name="__main__")


if __name__ == "__main__":
    main()
