"""The calls of `scripts/dev/gpu/kernel_calls` in a simulation: what fakerun says they request."""

import re
from typing import Any

import torch
from dev.gpu.kernel_calls.table import SECTIONS
from dev.gpu.kernel_requests import Measurement

__all__ = ["SECTIONS", "predicted"]

FIRST = "workspaces"
"""The section of the first products of a process."""
LONG = re.compile(r"cumprod\(.*\) backward|step\(.* x400 .*|.*\(.*MANY.*|allclose.*")
"""Calls that take long to simulate, and are like others."""


def predicted(section: str) -> dict[str, dict[str, Any]]:
    """The entries of the calls of a section by their names, as `kernel_requests.py` writes them; in a simulation that has begun."""
    torch.manual_seed(0)
    if section != FIRST:
        _take_workspaces()
    measurement = Measurement(runs=2)
    entries: dict[str, dict[str, Any]] = {}
    for call in SECTIONS[section]():
        if LONG.fullmatch(call.name):
            continue
        entry = entries[call.name] = {"section": section, "name": call.name}
        try:
            measurement.run(call, entry)
        except Exception as error:
            entry["error"] = f"{type(error).__name__}: {error}"
    measurement.read()
    return entries


def _take_workspaces() -> None:
    """As on the device, where the first section comes before all others."""
    weight = torch.randn(64, 64, device="cuda", requires_grad=True)
    bias = torch.randn(64, device="cuda", requires_grad=True)
    torch.nn.functional.linear(weight @ weight, weight, bias).sum().backward()
