"""Stores of keys, the default group's and a script's own: each holds what this rank sets, and never waits for another rank."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch.distributed as dist

from fakerun.emulate.context import EmulationContext
from fakerun.emulate.unsupported.gaps import KEY_OF_ANOTHER_RANK
from fakerun.patching import Patches
from fakerun.records.finding_code import FindingCode


@contextmanager
def simulated_stores(context: EmulationContext) -> Iterator[None]:
    """Give a script that creates a TCPStore one that this rank serves, and let no store wait, until the context ends."""
    original: Any = vars(dist)["TCPStore"]

    class TCPStore(original):  # type: ignore[misc]
        """Served by this process on a free port; it reports the host and port that were asked for."""

        def __init__(
            self, host_name: str, port: int, world_size: int | None = None, is_master: bool = False, *more: Any, **named: Any
        ) -> None:
            context.findings.note(
                FindingCode.LOCAL_STORE,
                "the script creates a TCPStore. In a dry run it holds only the keys that this rank sets.",
                hint="A rank that waits for another rank's key is stopped there.",
            )
            timeout = {"timeout": more[0]} if more else {name: value for name, value in named.items() if name == "timeout"}
            super().__init__("localhost", 0, None, True, wait_for_workers=False, **timeout)
            self._asked = (host_name, port)

        @property
        def host(self) -> str:
            return self._asked[0]

        @property
        def port(self) -> int:
            return self._asked[1] or int(super().port)

    with Patches() as patches:
        patches.set(dist, "TCPStore", TCPStore)
        for name, keys_of in _WAITING.items():
            patches.set(_STORE, name, _without_waiting(getattr(_STORE, name), keys_of))
        yield


_STORE: Any = vars(dist)["Store"]
_WAITING: dict[str, Callable[..., Sequence[str]]] = {
    "get": lambda key: [key],
    "multi_get": lambda keys: keys,
    "wait": lambda keys, timeout=None: keys,
}
"""The methods that wait until keys are set, and the keys that their arguments name."""


def _without_waiting(original: Any, keys_of: Callable[..., Sequence[str]]) -> Any:
    """The method, which ends the run where it would wait for what another rank sets."""

    def answer(store: Any, *args: Any, **named: Any) -> Any:
        if not _is_shared(store):
            for key in keys_of(*args, **named):
                if not store.check([key]):
                    raise KEY_OF_ANOTHER_RANK.error(f"Waiting for the key {key!r} of a store, which this rank has not set,")
        return original(store, *args, **named)

    return answer


def _is_shared(store: Any) -> bool:
    """Whether other ranks see the store: it is kept in a file, or it is the script's own class."""
    while isinstance(store, vars(dist)["PrefixStore"]):
        store = store.underlying_store
    return not isinstance(store, (vars(dist)["HashStore"], vars(dist)["TCPStore"]))
