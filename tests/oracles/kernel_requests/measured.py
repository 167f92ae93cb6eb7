"""The record of a GPU: of each call the first run and the last of three, as `scripts/dev/gpu/kernel_requests.py` describes them."""

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

from dev.gpu.compare_kernel_requests import requests_of, runs_of

FILE = Path(__file__).with_name("h200_torch_2_11.json.gz")
SMALL_BYTES = 16
"""Requests of up to so many bytes are not compared: single numbers, flags, and seeds."""
_SMALL_REQUESTS = 64
"""What they may make of a difference between peaks, in bytes."""


def measured() -> dict[str, dict[str, dict[str, Any]]]:
    """The calls by section and name."""
    sections: dict[str, dict[str, dict[str, Any]]] = json.loads(gzip.decompress(FILE.read_bytes()))["sections"]
    return sections


def differences(real: dict[str, Any], ours: dict[str, Any]) -> list[str]:
    """Where two entries of a call request other sizes in a phase, or have another peak."""
    if "error" in real or "error" in ours:
        return [] if "error" in real and "error" in ours else [str(real.get("error") or ours.get("error"))]
    return [text for runs in zip_longest(runs_of(real), runs_of(ours)) for phases in zip_longest(*runs) for text in _of_phase(*phases)]


def _of_phase(real: dict[str, Any], ours: dict[str, Any]) -> Iterator[str]:
    requests = [_large(requests_of(phase["events"])) for phase in (real, ours)]
    peaks = real["requested_peak"], ours["requested_peak"]
    if requests[0] != requests[1]:
        yield f"{real['name']}: missing {dict(requests[0] - requests[1])}, extra {dict(requests[1] - requests[0])}"
    elif abs(peaks[0] - peaks[1]) > _SMALL_REQUESTS:
        yield f"{real['name']}: peak {peaks[0]:,} on the GPU, {peaks[1]:,} predicted"


def _large(requests: Counter[tuple[int, bool]]) -> Counter[tuple[int, bool]]:
    return Counter({request: count for request, count in requests.items() if request[0] > SMALL_BYTES})
