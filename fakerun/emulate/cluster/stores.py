"""Stores of keys, the default group's and a script's own: each holds what this rank sets, and never waits for another rank."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch.distributed as dist

from fakerun.call_site import Owner, owner
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
        for name in _ANSWERING if context.job.world_size > 1 else ():
            patches.set(_STORE, name, _told_to_be_local(name, getattr(_STORE, name), context))
        yield


_STORE: Any = vars(dist)["Store"]
_WAITING: dict[str, Callable[..., Sequence[str]]] = {
    "get": lambda key: [key],
    "multi_get": lambda keys: keys,
    "wait": lambda keys, timeout=None: keys,
}
"""The methods that wait until keys are set, and the keys that their arguments name."""

_ANSWERING = ("add", "check", "compare_set", "delete_key", "num_keys")
"""The methods whose answer depends on what the other ranks set, and which never wait."""


def _told_to_be_local(name: str, original: Any, context: EmulationContext) -> Any:
    """The method, which reports that its answer is without the other ranks, where the program asks: a last rank that is found by counting
    is found by no rank here. torch counts in stores for itself, and waits for what it counts.
    """

    def answer(store: Any, *args: Any, **named: Any) -> Any:
        answered = original(store, *args, **named)
        if not _is_shared(store) and owner(sys._getframe(1).f_code.co_filename) in (Owner.USER, Owner.INSTALLED):
            context.findings.note(
                FindingCode.STORE_ANSWER,
                f"what {name}() of a store answers is without the other ranks: in a dry run a store holds only what the rank itself puts "
                "there. A branch that depends on the answer may be another one than on a cluster.",
                hint="Exchange the value with a collective, such as all_gather_object, which the simulated ranks do for real.",
                subject=name,
            )
        return answered

    return answer


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
