"""Makes a short file of what `scripts/dev/gpu/allocator_events.py` wrote: the first events of each program, and fewer checks.

python -m tests.oracles.allocator_events.reduce events.json.gz h100.json.gz --events 600 --source "..."
"""

import argparse
import gzip
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.oracles.allocator_events.replay import late_frees, read, without_device

SEGMENT = "segment_"


def reduced(part: dict[str, Any], events: int, checks: int) -> dict[str, Any]:
    """Of the trace the segments: blocks are in the events, and what was pending is in the active bytes after each."""
    kept = [check for check in part["checks"] if check["after"] <= events]
    last = min(events, len(part["events"]))
    if last == len(part["events"]):
        kept = [*kept[:: max(len(kept) // checks, 1)], *part["checks"][-3:]]
    else:
        last = kept[-1]["after"]
        kept = [*kept[:: max(len(kept) // checks, 1)], kept[-1]]
    late = late_frees(part)
    requests = sum(event[0] in "ao" for event in part["events"][:last]) + sum(entry[0] == "alloc" for entry in part["prepared"]["trace"])
    numbered = {check["after"]: check for check in kept}
    return {
        **{name: part[name] for name in ("setting", "kind", "seed", "total_bytes")},
        "prepared": {"trace": part["prepared"]["trace"]},
        "events": [[*event[:3], without_device(event[3])] if event[0] == "o" else event for event in part["events"][:last]],
        "changes": changes(part["totals"][:last]),
        "checks": [numbered[after] for after in sorted(numbered)],
        "late": [late.cached[: sum(request <= requests for request, _ in late.cached)], late.waited],
        "trace": [entry for entry in part["trace"] if entry[0].startswith(SEGMENT)],
    }


def changes(totals: list[list[int]]) -> list[list[int]]:
    """By how much each total differs from the one before it, which is shorter."""
    return [[now - before for before, now in zip(*pair, strict=True)] for pair in pairwise([[0, 0, 0], *totals])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("measured", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--events", type=int, default=600)
    parser.add_argument("--events-of-pools", type=int, default=1700, help="of programs that have private pools")
    parser.add_argument("--checks", type=int, default=3, help="of each program, beside the last")
    parser.add_argument("--source", required=True)
    arguments = parser.parse_args()
    content = read(arguments.measured)
    parts = [
        reduced(part, arguments.events if part["kind"] == "streams" else arguments.events_of_pools, arguments.checks)
        for part in content["parts"]
        if part.get("trace")
    ]
    filled = [
        {"setting": part["setting"], "total_bytes": part["total_bytes"], "steps": [step["statistics"] for step in part["fill"]]}
        for part in content["parts"]
        if part["kind"] == "fill" and part["backend"] == "native"
    ]
    asynchronous = [
        {
            **{name: part[name] for name in ("setting", "total_bytes")},
            "events": [event[:4] for event in part["events"] if event[0] in "afrdDse"],
            "peak_reserved_bytes": max(reserved for *_, reserved in part["totals"]),
        }
        for part in content["parts"]
        if part["kind"] != "fill" and part["backend"] != "native"
    ]
    text = json.dumps(
        {"source": arguments.source, "device": content["device"], "parts": parts, "filled": filled, "asynchronous": asynchronous},
        separators=(",", ":"),
    )
    arguments.out.write_bytes(gzip.compress(text.encode(), mtime=0))
    print(f"{len(parts)} programs, {sum(len(part['events']) for part in parts)} events, {arguments.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
