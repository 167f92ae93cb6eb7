"""The calls of `scripts/dev/gpu/kernel_calls` in a simulation: what fakerun says they request."""

import sys
from pathlib import Path
from typing import Any

import torch

sys.path.append(str(Path(__file__).resolve().parents[3] / "scripts"))

from dev.gpu.kernel_calls.table import SECTIONS  # noqa: E402
from dev.gpu.kernel_requests import Measurement  # noqa: E402

FIRST = "workspaces"
"""The section of the first products of a process."""


def predicted(section: str) -> dict[str, dict[str, Any]]:
    """The entries of the calls of a section by their names, as `kernel_requests.py` writes them; in a simulation that has begun."""
    torch.manual_seed(0)
    if section != FIRST:
        _take_workspaces()
    measurement = Measurement()
    entries: dict[str, dict[str, Any]] = {}
    for call in SECTIONS[section]():
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
