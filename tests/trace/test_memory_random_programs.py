"""Random small programs: after each statement, the simulated GPU holds what the same program on real CPU tensors holds.

On the CPU an independent recorder counts: it sees every tensor that an operator returns, and asks which storages are still alive.
"""

import random
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode  # the documented way to see every operator; its module is private

from fakerun.records.memory import rounded_size_bytes

Tensors = dict[str, torch.Tensor]
SIDE = 16
"""Every tensor has SIDE x SIDE elements, so that any two go together; as many bytes as two of the allocator's blocks."""


class LiveStorages(TorchDispatchMode):
    """Every storage of a tensor that an operator made and that is still alive."""

    def __init__(self) -> None:
        super().__init__()
        self._storages: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def __torch_dispatch__(self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        for tensor in torch.utils._pytree.tree_leaves(output):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                self._storages[storage._cdata] = weakref.ref(storage)
        return output

    def nbytes(self) -> int:
        alive = [storage for reference in self._storages.values() if (storage := reference()) is not None]
        return sum(rounded_size_bytes(storage.nbytes()) for storage in alive)


class Program:
    """Statements drawn at random from those that can stand where they are."""

    def __init__(self, seed: int, device: str) -> None:
        self._random = random.Random(seed)
        self._device = device
        self._named: Tensors = {}
        self._count = 0

    def run(self, statements: int, live: Callable[[], int]) -> Iterator[tuple[str, int]]:
        """Run, and tell after each statement which it was and how many bytes live."""
        for _ in range(statements):
            name = self._random.choice(sorted(STATEMENTS))
            if self._named or name == "new":
                STATEMENTS[name](self)
            yield name, live()

    def any(self) -> torch.Tensor:
        return self._named[self.any_name()]

    def any_name(self) -> str:
        return self._random.choice(sorted(self._named))

    def keep(self, tensor: torch.Tensor) -> None:
        """Give it a name: a new one, or one that another tensor has."""
        self._count += 1
        taken = bool(self._named) and self._random.random() < 0.4
        self._named[self.any_name() if taken else f"t{self._count}"] = tensor

    def new(self) -> torch.Tensor:
        tensor = torch.zeros(SIDE, SIDE, device=self._device)
        return tensor.requires_grad_(self._random.random() < 0.5)

    def forget(self) -> None:
        del self._named[self.any_name()]

    def in_place(self) -> None:
        target = self.any()
        if target.stride(0) and not target._is_view():  # rows of an expanded tensor are one; autograd wants some views untouched
            with torch.no_grad():
                target.add_(1).mul_(self.any().sum())

    def set_data(self) -> None:
        target = self.any()
        if (
            not target._is_view()
        ):  # a view of it would keep it: autograd's views of simulated tensors refer to the tensor they were taken of
            target.data = self.any().detach().clone()

    def backward(self) -> None:
        loss = self.any().exp().mean() + self.any().sum()
        if loss.requires_grad:
            try:
                loss.backward()
            except RuntimeError as error:  # through a graph that was freed, or what it kept was written to
                assert "second time" in str(error) or "inplace operation" in str(error)  # noqa: PT017
        del loss

    def zero_grad(self) -> None:
        for tensor in self._named.values():
            if tensor.is_leaf:
                tensor.grad = None

    def out(self) -> None:
        with torch.no_grad():
            self.keep(torch.add(self.any(), self.any(), out=torch.empty(SIDE, SIDE, device=self._device)))

    def empty_storage(self) -> None:
        tensor = torch.empty(SIDE, SIDE, device=self._device)
        tensor.untyped_storage().resize_(0)
        if self._random.random() < 0.5:
            tensor.untyped_storage().resize_(4 * SIDE * SIDE)
            self.keep(tensor)

    def set_to_another(self) -> None:
        self.keep(torch.empty(3 * SIDE, device=self._device).set_(self.any().detach()))  # type: ignore[call-overload]


def _made(make: Callable[[Program], torch.Tensor]) -> Callable[[Program], None]:
    return lambda program: program.keep(make(program))


STATEMENTS: Mapping[str, Callable[[Program], None]] = {
    "new": lambda p: p.keep(p.new()),
    "forget": Program.forget,
    "in place": Program.in_place,
    "set data": Program.set_data,
    "backward": Program.backward,
    "zero grad": Program.zero_grad,
    "out": Program.out,
    "empty storage": Program.empty_storage,
    "set_": Program.set_to_another,
    "multiply": _made(lambda p: p.any() @ p.any()),
    "add": _made(lambda p: p.any() + p.any()),
    "exp": _made(lambda p: p.any().exp()),
    "relu": _made(lambda p: p.any().relu()),
    "softmax": _made(lambda p: p.any().softmax(-1)),
    "transpose": _made(lambda p: p.any().t()),
    "view": _made(lambda p: p.any().reshape(-1).view(SIDE, SIDE)),
    "contiguous": _made(lambda p: p.any().contiguous()),
    "clone": _made(lambda p: p.any().clone()),
    "detach": _made(lambda p: p.any().detach()),
    "expand": _made(lambda p: p.any()[:1].expand(SIDE, SIDE)),
    "concatenate": _made(lambda p: torch.cat([p.any()[:4], p.any()[4:]])),
    "split": _made(lambda p: torch.cat(p.any().split(SIDE // 2)[::-1])),
    "part of a stack": _made(lambda p: torch.stack([p.any(), p.any()]).unbind()[0]),
    "foreach": _made(lambda p: torch._foreach_mul([p.any(), p.any()], 2.0)[0]),
    "index": _made(lambda p: p.any()[torch.zeros(SIDE, dtype=torch.int64, device=p._device)]),
    "where": _made(lambda p: torch.where(p.any() > 0, p.any(), p.any())),
    "cast": _made(lambda p: p.any().to(torch.float64).to(torch.float32)),
    "real part": _made(lambda p: torch.complex(p.any(), p.any()).real),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(60))
def test_live_bytes_after_each_statement(seed: int, shared_simulation: Any) -> None:
    before = torch.cuda.memory_allocated()
    simulated = list(Program(seed, "cuda").run(60, lambda: torch.cuda.memory_allocated() - before))
    recorder = LiveStorages()
    with recorder:
        real = list(Program(seed, "cpu").run(60, recorder.nbytes))
    assert simulated == real
