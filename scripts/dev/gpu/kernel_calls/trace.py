"""The allocator's history of a call: where it begins and ends, and its requests."""

from collections.abc import Sequence
from typing import Any

import torch

_SMALLEST_MARK = 20_001


class Marks:
    """Marks in the history: requests of sizes that differ from each other, freed at once."""

    def __init__(self) -> None:
        self._count = 0

    def set(self) -> int:
        """Set a mark, and return its number."""
        number = self._count
        self._count += 1
        torch.empty(_SMALLEST_MARK + 2 * number, dtype=torch.uint8, device="cuda")
        return number

    def forget(self) -> None:
        self._count = 0

    def positions(self, trace: Sequence[dict[str, Any]]) -> dict[int, tuple[int, int]]:
        """Of each mark the positions of its first entry, and behind its last."""
        found: dict[int, tuple[int, int]] = {}
        number = 0
        for position, entry in enumerate(trace):
            if entry["action"] != "alloc" or entry["size"] != _SMALLEST_MARK + 2 * number:
                continue
            address = entry["addr"]
            freed = next((at for at in range(position + 1, len(trace)) if _frees(trace[at], address)), len(trace))
            if freed <= position + 3:
                found[number] = position, freed + 1
                number += 1
        return found


def _frees(entry: dict[str, Any], address: int) -> bool:
    return bool(entry["action"] == "free_completed" and entry["addr"] == address)


def events_of(
    trace: Sequence[dict[str, Any]], positions: dict[int, tuple[int, int]], phase: dict[str, Any], requests: dict[int, int]
) -> dict[str, Any]:
    """A phase as it is written. `requests` are the numbers of the requests of the run so far, by address."""
    begin, end = positions.get(phase["begin"]), positions.get(phase["end"])
    if begin is None or end is None:
        return {"name": phase["name"], "error": "marks not found"}
    events: list[Any] = []
    count = requests.get(-1, 0)
    for entry in trace[begin[1] : end[0]]:
        if entry["action"] == "alloc":
            count += 1
            requests[entry["addr"]] = count
            events.append(entry["size"] if entry["stream"] == 0 else [entry["size"], entry["stream"]])
        elif entry["action"] == "free_completed":
            number = requests.pop(entry["addr"], None)
            events.append(f"-{entry['size']}" if number is None else -number)
    requests[-1] = count
    results = phase.get("results")
    held = None if results is None else sorted({requests[address] for address in results if address in requests})
    return {
        "name": phase["name"],
        "events": events,
        "results": held,
        "requested_peak": phase["requested_peak"],
        "allocated_peak": phase["allocated_peak"],
    }
