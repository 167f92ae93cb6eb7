"""A script's own `TCPStore`, which would wait for other ranks that do not run."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch.distributed as dist

from fakerun.emulate.context import EmulationContext
from fakerun.patching import Patches
from fakerun.records.finding_code import FindingCode


@contextmanager
def simulated_stores(context: EmulationContext) -> Iterator[None]:
    """Give a script that creates a TCPStore one that this rank serves, until the context ends."""
    original: Any = vars(dist)["TCPStore"]

    class TCPStore(original):  # type: ignore[misc]
        """Served by this process on a free port; it reports the host and port that were asked for."""

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
