"""The CUDA runtime as scripts call it: `torch.cuda.cudart()`."""

from collections.abc import Callable
from typing import Any

from fakerun.emulate.unsupported.gaps import RUNTIME

_SUCCESS = 0


class Runtime:
    """Replaces the module that `torch.cuda.cudart()` returns. Functions that have no effect without the device succeed."""

    def __init__(self, memory_info: Callable[[Any], tuple[int, int]]) -> None:
        self.cudaMemGetInfo = memory_info

    def cudaProfilerStart(self) -> int:  # noqa: N802 - CUDA's name
        return _SUCCESS

    def cudaProfilerStop(self) -> int:  # noqa: N802
        return _SUCCESS

    def cudaHostRegister(self, address: int, size: int, flags: int) -> int:  # noqa: N802
        return _SUCCESS

    def cudaHostUnregister(self, address: int) -> int:  # noqa: N802
        return _SUCCESS

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise RUNTIME.error(f"torch.cuda.cudart().{name}")
