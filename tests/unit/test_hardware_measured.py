"""The measured figures: no card is faster than its datasheet, and figures of the same thing agree."""

import math
from typing import Any

import pytest

from fakerun.hardware.catalogue import hardware_named
from fakerun.hardware.measured import measured_accelerators, measured_operations

MIB = 1 << 20
PEAKS = {"bf16": "bfloat16", "fp16": "float16", "tf32": "tf32", "fp32": "float32", "fp8_e4m3": "float8"}
"""Of a dtype's name in the measured figures, the field of `Accelerator` without `_flops`."""


@pytest.fixture(scope="module", params=measured_accelerators())
def card(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def document(card: str) -> dict[str, Any]:
    return measured_operations(card)


def of_kind(document: dict[str, Any], *kinds: str) -> list[dict[str, Any]]:
    found = [entry for entry in document["entries"] if entry["kind"] in kinds]
    assert found
    return found


def flops(entry: dict[str, Any]) -> float:
    groups = entry["shape"][0] if entry["kind"] == "grouped_mm" else 1
    return 2.0 * math.prod(entry["shape"]) / groups


def test_the_card_is_the_one_of_the_catalogue(card: str, document: dict[str, Any]) -> None:
    hardware, device = hardware_named(card), document["environment"]["device"]
    assert device["name"] == hardware.device_name
    assert device["multi_processor_count"] == hardware.multiprocessors
    assert device["L2_cache_size"] == hardware.l2_cache_bytes
    assert (device["clock_rate"] * 1e3, device["memory_clock_rate"] * 1e3) == (hardware.clock_hz, hardware.memory_clock_hz)
    assert device["total_memory"] == pytest.approx(hardware.usable_bytes, rel=0.001)


def test_every_entry_has_figures(document: dict[str, Any]) -> None:
    for entry in document["entries"]:
        assert "error" not in entry
        assert entry["us_median"] > 0
        assert entry["us_median"] >= entry["us_min"] if "us_min" in entry else entry["kind"] == "contention"


def test_products_are_below_the_peak(card: str, document: dict[str, Any]) -> None:
    hardware = hardware_named(card)
    for entry in of_kind(document, "mm", "scaled_mm", "bmm", "addmm", "grouped_mm", "sustained_mm"):
        peak = getattr(hardware, f"{PEAKS[entry['dtype']]}_flops")
        assert flops(entry) / entry["us_min"] * 1e6 < peak, entry


def test_attention_is_below_the_peak(card: str, document: dict[str, Any]) -> None:
    peak = hardware_named(card).bfloat16_flops
    assert peak is not None
    for entry in of_kind(document, "attention"):
        batch, heads, _, length, dimension = entry["shape"]
        passes = 2.5 if entry.get("pass") == "backward" else 1  # what has an explicit mask is a forward pass
        operations = 4 * batch * heads * length**2 * dimension * passes / (2 if entry.get("causal") else 1)
        assert operations / entry["us_min"] * 1e6 < peak, entry


def test_memory_is_not_faster_than_its_bandwidth(card: str, document: dict[str, Any]) -> None:
    bandwidth = hardware_named(card).memory_bytes_per_s
    assert bandwidth is not None
    large = [entry for entry in of_kind(document, "memory_bound") if entry["size_bytes"] >= 256 * MIB]
    assert all(entry["bytes"] / entry["us_min"] * 1e6 < bandwidth for entry in large)
    assert max(entry["bytes"] / entry["us_min"] * 1e6 for entry in large) > 0.8 * bandwidth


def test_sustained_products_are_throttled(document: dict[str, Any]) -> None:
    limit, highest = document["environment"]["board"]["power_limit_w"], document["environment"]["board"]["max_sm_mhz"]
    for entry in of_kind(document, "sustained_mm"):
        assert 0.8 < entry["us_first"] / entry["us_median"] < 0.95
        assert entry["series"][-1]["power_w"] == pytest.approx(limit, rel=0.05)
        assert entry["series"][-1]["sm_mhz"] < 0.85 * highest


def test_a_block_takes_what_its_kernels_take(document: dict[str, Any]) -> None:
    """Within what the clock of the moment changes, and up to 1.5 us between two kernels."""
    for entry in of_kind(document, "block"):
        kernels = sum(duration for _, _, duration, _ in entry["timeline"])
        between = 1.5 * len(entry["timeline"])
        assert 0.92 * entry["us_median"] - between < kernels < 1.08 * entry["us_median"], entry["name"]
        if entry["kernels"] is not None:
            assert sum(row[4] for row in entry["kernels"]) == pytest.approx(kernels, rel=0.03), entry["name"]


def test_linear_layers_of_a_block_take_what_they_take_alone(document: dict[str, Any]) -> None:
    """The forward products of a Llama block by the profiler, and the same shapes by events."""
    products = {tuple(entry["shape"]): entry for entry in of_kind(document, "mm") if (entry["dtype"], entry["layout"]) == ("bf16", "NT")}
    blocks = [entry for entry in of_kind(document, "block") if entry["name"] == "llama block" and not entry["compiled"]]
    for block in blocks:
        times = {(row[0], row[1]): row[4] / row[3] for row in block["kernels"] if "_TNT" in row[2]}
        for n in (4096, 14336):
            in_block = times["aten::mm", f"[[8192, 4096], [4096, {n}]]"]
            assert in_block == pytest.approx(products[8192, n, 4096]["us_median"], rel=0.05)
