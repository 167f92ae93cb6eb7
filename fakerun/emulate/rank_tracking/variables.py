"""The rank in the program's environment and arguments: variables of the launchers, the job's own with `${rank}` in them."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from fakerun.emulate.rank_tracking.text import RankText
from fakerun.emulate.rank_tracking.tracker import RankTracker, active
from fakerun.patching import Patches
from fakerun.records.rank_function import RankOperation

_LAUNCHERS = {
    **dict.fromkeys(("RANK", "ROLE_RANK", "SLURM_PROCID", "PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK"), "${rank}"),
    **dict.fromkeys(("LOCAL_RANK", "SLURM_LOCALID", "MPI_LOCALRANKID", "OMPI_COMM_WORLD_LOCAL_RANK"), "${local_rank}"),
    **dict.fromkeys(("GROUP_RANK", "SLURM_NODEID"), "${node_rank}"),
    "OMPI_COMM_WORLD_NODE_RANK": "${local_rank}",
    "MV2_COMM_WORLD_RANK": "${rank}",
    "MV2_COMM_WORLD_LOCAL_RANK": "${local_rank}",
    "SLURMD_NODENAME": "node${node_rank}",
}
"""The variables of the launchers that tell the rank."""

_OPERATIONS = {"rank": RankOperation.RANK, "local_rank": RankOperation.LOCAL_RANK, "node_rank": RankOperation.NODE_RANK}
_PLACEHOLDER = re.compile(r"\$(?:\{(rank|local_rank|node_rank)\}|(rank|local_rank|node_rank)\b)")


class _RankBytes(bytes):
    """The value of a variable, as `os.environ` keeps it, that is read as a followed text."""

    text: RankText


@contextmanager
def followed_variables(tracker: RankTracker, own: Mapping[str, str]) -> Iterator[None]:
    """Follow what is read from `os.environ`; what is set there later, if it is a followed text. `own` are the job's variables."""
    encode: Any = os.environ.encodevalue  # str to bytes on POSIX
    decode: Any = os.environ.decodevalue

    def encodevalue(value: str) -> Any:
        return _marked(encode(value.plain), value) if type(value) is RankText else encode(value)

    def decodevalue(value: bytes) -> Any:
        return value.text if type(value) is _RankBytes else decode(value)

    table = getattr(os.environ, "_data")  # noqa: B009 - of Python's
    with Patches() as patches:
        patches.set(os.environ, "encodevalue", encodevalue)
        patches.set(os.environ, "decodevalue", decodevalue)
        for name, template in {**own, **_LAUNCHERS}.items():
            written = os.environ.get(name)
            followed = None if written is None else _followed(template, written, tracker)
            if type(followed) is RankText:
                key: Any = os.environ.encodekey(name)
                patches.set_item(table, key, _marked(encode(written), followed))
        yield


def followed_argument(template: str, written: str) -> str:
    """An argument of the program that was made of a template; plain where the rank is not followed."""
    return written if active.tracker is None else _followed(template, written, active.tracker)


def _followed(template: str, written: str, tracker: RankTracker) -> str:
    """What a template with placeholders for the rank was made into; plain if it has none, or was made into something else."""
    parts: list[Any] = []
    plain: list[str] = []
    end = 0
    for found in _PLACEHOLDER.finditer(template):
        operation = _OPERATIONS[found[1] or found[2]]
        before = template[end : found.start()]
        expression = tracker.expressions.leaf(operation)
        parts += [before, expression] if before else [expression]
        plain += [before, str(tracker.values[operation])]
        end = found.end()
    after = template[end:]
    if not parts or "".join(plain) + after != written:
        return written
    return RankText.of(written, (*parts, after) if after else tuple(parts))


def _marked(encoded: bytes, text: RankText) -> _RankBytes:
    marked = _RankBytes(encoded)
    marked.text = text
    return marked
