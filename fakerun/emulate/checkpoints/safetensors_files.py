"""Files of safetensors, where it is installed: skipped and found again as those of `torch.save`.

Its native code reads and writes files by itself, and would write placeholder values over the user's checkpoint.
"""

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from types import TracebackType
from typing import Any, Self

import torch

from fakerun.emulate.checkpoints.saving import Saving, relocation
from fakerun.emulate.checkpoints.unwritten import MARK, UnwrittenObject
from fakerun.emulate.context import EmulationContext
from fakerun.errors import as_script_error
from fakerun.patching import Patches

_DTYPES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8",
    "uint64": "U64", "uint32": "U32", "uint16": "U16", "uint8": "U8", "bool": "BOOL", "complex64": "C64",
    "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "float8_e8m0fnu": "F8_E8M0",
}  # fmt: skip
"""The names of dtypes in the format (safetensors/src/tensor.rs, 0.6)."""


@contextmanager
def simulated_safetensors(context: EmulationContext) -> Iterator[None]:
    """Replace `save_file`, `save`, `safe_open` and `load`, until the context ends; `load_file` and the functions on models call these."""
    try:
        import safetensors
        import safetensors.torch as functions
    except ImportError:
        yield
        return
    files = _Files(context, functions)
    with Patches() as patches:
        patches.set_all(functions, {"save_file": files.save_file, "save": files.save, "load": files.load})
        for module in (safetensors, functions):
            patches.set(module, "safe_open", files.safe_open)
        yield


class _Files:
    def __init__(self, context: EmulationContext, functions: Any) -> None:
        self._saving = context.part(Saving)
        self._save_file, self._save, self._load = functions.save_file, functions.save, functions.load
        self._safe_open = functions.safe_open

    def save_file(self, tensors: Any, filename: Any, metadata: Any = None) -> None:
        """`safetensors.torch.save_file`."""
        unwritten = self._unwritten(tensors, metadata)
        self._saving.put(unwritten, filename, "safetensors.torch.save_file", lambda path: self._save_file(tensors, path, metadata))

    def save(self, tensors: Any, metadata: Any = None) -> bytes:
        """`safetensors.torch.save`: the bytes of a file."""
        file = io.BytesIO()
        write = self._save
        self._saving.put(self._unwritten(tensors, metadata), file, "safetensors.torch.save", lambda to: to.write(write(tensors, metadata)))
        return file.getvalue()

    def _unwritten(self, tensors: Any, metadata: Any) -> UnwrittenObject:
        """The file, if it could be written."""
        _check(tensors)
        plain = {name: tensor.detach() for name, tensor in tensors.items()}  # no parameters: the format does not know them
        return UnwrittenObject((plain, None if metadata is None else dict(metadata)))

    def safe_open(self, filename: Any, framework: str, device: Any = "cpu", **more: Any) -> Any:
        """`safetensors.safe_open`."""
        source, stand_in = self._saving.get(filename)
        if stand_in is None:
            return self._safe_open(source, framework, device=device, **more)
        return _StandIn(stand_in, framework, device)

    def load(self, data: bytes) -> Mapping[str, torch.Tensor]:
        """`safetensors.torch.load`."""
        loaded: Mapping[str, torch.Tensor] = _StandIn(data, "pt", "cpu").get_tensors() if data.startswith(MARK) else self._load(data)
        return loaded


def _check(tensors: Any) -> None:
    """Refuse what safetensors refuses.

    Raises:
        ValueError: there is something else than tensors, or a tensor is not contiguous.
        RuntimeError: tensors share memory.
    """
    if not isinstance(tensors, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in tensors.values()):
        raise as_script_error(ValueError("safetensors saves a dict of tensors, and nothing else"))
    areas: list[tuple[int, int, str]] = []
    for name, tensor in tensors.items():
        if not tensor.is_contiguous():
            raise as_script_error(ValueError(f"safetensors does not save the tensor {name!r}: it is not contiguous"))
        nbytes, start = tensor.numel() * tensor.element_size(), tensor.data_ptr()
        if nbytes and start:
            areas.append((start, start + nbytes, name))
    areas.sort()
    for (_, end, name), (start, _, other) in pairwise(areas):
        if start < end:
            raise as_script_error(RuntimeError(f"safetensors does not save the tensors {name!r} and {other!r}: they share memory"))


class _StandIn:
    """What `safe_open` gives for a file that was not written."""

    def __init__(self, stand_in: bytes, framework: str, device: Any) -> None:
        relocate = relocation(f"cuda:{device}" if isinstance(device, int) else device)
        self._tensors: dict[str, torch.Tensor]
        self._metadata: Mapping[str, str] | None
        self._tensors, self._metadata = UnwrittenObject.decode(stand_in).load(relocate)
        self._is_of_numpy = framework in ("np", "numpy")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None: ...

    def metadata(self) -> Mapping[str, str] | None:
        return self._metadata

    def keys(self) -> list[str]:
        return sorted(self._tensors)

    def offset_keys(self) -> list[str]:
        return self.keys()

    def get_tensor(self, name: str) -> Any:
        tensor = self._tensors[name]
        return tensor.cpu().numpy() if self._is_of_numpy else tensor

    def get_tensors(self) -> dict[str, Any]:
        return {name: self.get_tensor(name) for name in self.keys()}

    def get_slice(self, name: str) -> "_Slice":
        return _Slice(self.get_tensor(name))


class _Slice:
    """What `get_slice` gives: a tensor that is read in part."""

    def __init__(self, tensor: Any) -> None:
        self._tensor = tensor

    def get_shape(self) -> list[int]:
        return list(self._tensor.shape)

    def get_dtype(self) -> str:
        return _DTYPES[str(self._tensor.dtype).rpartition(".")[2]]

    def __getitem__(self, place: Any) -> Any:
        return self._tensor[place]
