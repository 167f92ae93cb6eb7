"""Holds predicted requests against measured ones, call by call: two files of `kernel_requests.py`.

    python scripts/dev/gpu/compare_kernel_requests.py measured.json.gz predicted.json.gz [--section attention] [--all]

A phase is equal if it has the same requests and frees in the same order; `order` differs only in the order, `peak` has other requests and
the same peak. Exit status 1 if a call differs.
"""

import argparse
import gzip
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What is different in one phase of one run: `kind` is error, requests, peak or order."""

    kind: str
    where: str
    text: str


def runs_of(call: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """All runs of a call, those that are equal to the one before written out."""
    runs: list[list[dict[str, Any]]] = []
    for run in call.get("runs", []):
        runs.append(runs[-1] if run is None else run)
    return runs


def size_of(event: Any) -> int:
    return int(event[0] if isinstance(event, list) else event)


def requests_of(events: Sequence[Any]) -> Counter[tuple[int, bool]]:
    """How often each size is requested, in the default stream or in another one."""
    return Counter((size_of(event), isinstance(event, list)) for event in events if isinstance(event, list) or _is_request(event))


def _is_request(event: Any) -> bool:
    return isinstance(event, int) and event > 0


def differences(measured: dict[str, Any], predicted: dict[str, Any]) -> Iterator[Difference]:
    """What is different between two entries of a call."""
    if "error" in measured or "error" in predicted:
        if ("error" in measured) != ("error" in predicted):
            which, entry = ("measured", measured) if "error" in measured else ("predicted", predicted)
            yield Difference(kind="error", where="", text=f"only {which} fails: {entry['error'][:300]}")
        return
    for number, (real, ours) in enumerate(zip_longest(runs_of(measured), runs_of(predicted)), 1):
        for phase in zip_longest(real or [], ours or []):
            yield from _of_phase(*phase, number)


def _of_phase(real: dict[str, Any] | None, ours: dict[str, Any] | None, run: int) -> Iterator[Difference]:
    if real is None or ours is None or "events" not in real or "events" not in ours:
        yield Difference(kind="error", where=f"run {run}", text="a phase is missing")
        return
    if _normal(real["events"]) == _normal(ours["events"]):
        return
    where = f"run {run} {real['name']}"
    missing, extra = (requests_of(one["events"]) - requests_of(other["events"]) for one, other in ((real, ours), (ours, real)))
    peaks = real["requested_peak"], ours["requested_peak"]
    if not missing and not extra:
        yield Difference(kind="order", where=where, text=f"{_first(real['events'], ours['events'])}; peak {peaks[0]:,} != {peaks[1]:,}")
        return
    text = f"missing {_listed(missing)}; extra {_listed(extra)}; peak {peaks[0]:,} != {peaks[1]:,}"
    yield Difference(kind="peak" if peaks[0] == peaks[1] else "requests", where=where, text=text)


def _normal(events: Sequence[Any]) -> list[Any]:
    """Streams by the order in which they appear."""
    streams: dict[int, int] = {}
    return [[event[0], streams.setdefault(event[1], len(streams) + 1)] if isinstance(event, list) else event for event in events]


def _first(real: Sequence[Any], ours: Sequence[Any]) -> str:
    pairs = enumerate(zip_longest(_normal(real), _normal(ours)))
    number, pair = next((number, pair) for number, pair in pairs if pair[0] != pair[1])
    return f"event {number}: {pair[0]} != {pair[1]}"


def _listed(requests: Counter[tuple[int, bool]]) -> str:
    texts = [f"{size:,}{'@stream' if other else ''}{f' x{count}' if count > 1 else ''}" for (size, other), count in requests.items()]
    return "[" + ", ".join(texts[:12]) + (", ..." if len(texts) > 12 else "") + "]"


def by_name(data: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(call["section"], call["name"]): call for call in data["calls"]}


def read(path: Path) -> dict[str, Any]:
    with gzip.open(path, "rt") as file:
        data: dict[str, Any] = json.load(file)
    return data


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("measured", type=Path)
    parser.add_argument("predicted", type=Path)
    parser.add_argument("--section", help="only the calls of this section")
    parser.add_argument("--all", action="store_true", help="print the equal calls, too")
    args = parser.parse_args()
    measured, predicted = by_name(read(args.measured)), by_name(read(args.predicted))
    kinds: dict[str, Counter[str]] = {}
    for (section, name), entry in measured.items():
        if args.section not in (None, section):
            continue
        ours = predicted.get((section, name))
        found = [Difference(kind="error", where="", text="not predicted")] if ours is None else list(differences(entry, ours))
        kind = found[0].kind if found else "both fail" if "error" in entry else "equal"
        kinds.setdefault(section, Counter())[kind] += 1
        if found or args.all:
            print(f"{kind:8}  {section}: {name}")
        for difference in found:
            print(f"          {difference.kind} {difference.where}: {difference.text}")
    print()
    for section, counts in kinds.items():
        print(f"{section:20} {sum(counts.values()):5}  " + ", ".join(f"{count} {kind}" for kind, count in counts.most_common()))
    total = sum(kinds.values(), Counter())
    print(f"{'all':20} {sum(total.values()):5}  " + ", ".join(f"{count} {kind}" for kind, count in total.most_common()))
    return 0 if set(total) <= {"equal", "both fail"} else 1


if __name__ == "__main__":
    sys.exit(main())
