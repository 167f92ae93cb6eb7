"""A script's own `TCPStore`: it would wait for the other ranks, or for the one that serves it, and nobody comes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch.distributed as dist

from fakerun.emulate.context import EmulationContext
from fakerun.patching import Patches
from fakerun.records.finding_code import FindingCode


@contextmanager
def simulated_stores(context: EmulationContext) -> Iterator[None]:
    """Give a script that makes a TCPStore one of its rank's own, until the context ends."""
    original: Any = vars(dist)["TCPStore"]

    class TCPStore(original):  # type: ignore[misc]
        """Served by this process itself, on a free port; says of itself what it was asked to be."""

        def __init__(
            self, host_name: str, port: int, world_size: int | None = None, is_master: bool = False, *more: Any, **named: Any
        ) -> None:
            context.findings.note(
                FindingCode.LOCAL_STORE,
                "the script creates a TCPStore. In a dry run it holds only the keys that this rank sets.",
                hint="Waiting for another rank's key times out.",
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
        yield
