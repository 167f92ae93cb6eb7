"""The data file of accelerators: its content, and the errors for a wrong one."""

from pathlib import Path

import pytest

from fakerun.errors import UsageError
from fakerun.hardware.accelerator import Vendor
from fakerun.hardware.catalogue import (
    DATA_FILE,
    DEFAULT_HARDWARE,
    DataFileError,
    accelerator_names,
    entry_named,
    hardware_named,
    known_hardware,
    load_catalogue,
)
from fakerun.units import GIB

REQUIRED = (
    *("v100-32gb", "a100-40gb", "a100-80gb", "a100-pcie", "h100-80gb", "h100-pcie", "h100-96gb", "h200", "h20", "b200", "gb200", "b300"),
    *("gb300", "mi300x", "mi325x", "mi355x", "t4", "l4", "l40s", "a10g", "a6000", "rtx4090"),
)
FIGURE_SOURCES = [
    pytest.param(figure, id=f"{name}-{key}") for name, entry in known_hardware().items() for key, figure in entry.figures.items()
]


def test_required_hardware_is_known() -> None:
    assert set(REQUIRED) <= set(known_hardware())


def test_names_are_read_off_the_text() -> None:
    assert accelerator_names() == tuple(known_hardware())


def test_capitals_do_not_matter() -> None:
    assert hardware_named("H100-80GB").name == "h100-80gb"


def test_one_in_full() -> None:
    h100 = hardware_named(DEFAULT_HARDWARE)
    assert (h100.vendor, h100.device_name) == (Vendor.NVIDIA, "NVIDIA H100 80GB HBM3")
    assert (h100.usable_bytes, h100.driver_reserved_bytes) == (81079 * 2**20, 480 * 2**20)
    assert (h100.compute_capability, h100.multiprocessors) == ((9, 0), 132)
    assert (h100.bfloat16_flops, h100.memory_bytes_per_s, h100.power_limit_w) == (989e12, 3.35e12, 700)
    node = h100.interconnect
    assert (node.link, node.link_bytes_per_s, node.domain_size) == ("NVLink 4", 450e9, 8)
    assert (node.pcie_generation, node.pcie_lanes, node.devices_per_node, node.nics_per_node) == (5, 16, 8, 8)
    assert (node.nic_bytes_per_s, node.nic_latency_s) == (50e9, None)


def test_the_board_of_torchtitans_tables() -> None:
    board = hardware_named("h100-96gb")
    assert (board.memory_bytes_per_s, board.power_limit_w, round(board.usable_bytes / GIB, 2)) == (2.4e12, 500, 95.04)
    assert entry_named("h100-96gb").figures["memory"].estimate


@pytest.mark.parametrize("figure", FIGURE_SOURCES)
def test_every_figure_has_a_source(figure) -> None:  # type: ignore[no-untyped-def]
    assert figure.note if figure.value is None else len(figure.source) > 10


@pytest.mark.parametrize("name", known_hardware())
def test_plausible(name: str) -> None:
    hardware = hardware_named(name)
    assert 14 * GIB < hardware.usable_bytes < 290 * GIB
    assert hardware.nominal_bytes is not None
    assert 0.9 < hardware.usable_bytes / hardware.nominal_bytes <= 1
    assert hardware.shared_memory_bytes is not None
    if hardware.memory_clock_hz and hardware.memory_bus_bits and hardware.memory_bytes_per_s:
        assert hardware.memory_clock_hz * 2 * hardware.memory_bus_bits / 8 == pytest.approx(hardware.memory_bytes_per_s, rel=0.005)
    if hardware.float8_flops and hardware.float16_flops:
        assert hardware.float8_flops == pytest.approx(2 * hardware.float16_flops, rel=0.02)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("h100", " (did you mean 'h100-80gb' or 'h100-pcie' or 'h100-96gb'?)"),
        ("A100", " (did you mean 'a100-40gb' or 'a100-80gb' or 'a100-pcie'?)"),
        ("tpu", ""),
        ("", ""),
    ],
)
def test_unknown(name: str, hint: str) -> None:
    with pytest.raises(UsageError) as error:
        hardware_named(name)
    assert str(error.value) == f"unknown hardware {name!r}{hint}; known: {', '.join(known_hardware())}"


LEAST = """
sources: {book: A book of cards}
accelerators:
- name: c1
  vendor: nvidia
  device_name: {value: NVIDIA C1, source: book}
  memory: {value: 7GiB, source: book}
  compute_capability: {value: "12.0", source: book}
  multiprocessors: {value: 10, source: book}
"""


def load(tmp_path: Path, text: str) -> str:
    """What is said of a data file."""
    path = tmp_path / "cards.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataFileError) as error:
        load_catalogue(path)
    return str(error.value).removeprefix(f"{path}: ")


def test_the_least_entry(tmp_path: Path) -> None:
    path = tmp_path / "cards.yaml"
    path.write_text(LEAST, encoding="utf-8")
    entry = load_catalogue(path)["c1"]
    assert (entry.accelerator.usable_bytes, entry.accelerator.compute_capability) == (7 * GIB, (12, 0))
    assert entry.accelerator.l2_cache_bytes is None
    assert entry.figures["memory"].source == "A book of cards"


WRONG = {
    "no yaml": ("sources: [", "this is no YAML: "),
    "unknown vendor": (LEAST.replace("nvidia", "nvidea"), "c1: vendor: 'nvidea' is not known; known: nvidia, amd"),
    "unknown key": (LEAST.replace("memory:", "memry:"), "c1: memry: unknown key (did you mean 'memory'?); known: device_name, memory, "),
    "missing": (
        LEAST.replace("  memory: {value: 7GiB, source: book}\n", ""),
        "c1: memory: is missing, and nothing can be simulated",
    ),
    "no unit": (LEAST.replace("7GiB", "7"), "c1: memory: '7' is not an amount of memory: give a number and a unit "),
    "unknown source": (LEAST.replace("10, source: book", "10, source: bok"), "c1: multiprocessors: the source 'bok' is neither one of "),
    "no source": (
        LEAST.replace("10, source: book", "10"),
        "c1: multiprocessors: the source '' is neither one of the file's `so",
    ),
    "null without a note": (LEAST + "  clock: {value: null}\n", "c1: clock: has no value and no note: say why it is not known"),
    "a bare value": (LEAST + "  clock: 3GHz\n", "accelerators.0.clock: Input should be a valid dictionary or instance of FigureText"),
    "twice": (LEAST + LEAST[LEAST.index("- name") :], "c1: the name is given twice"),
}


@pytest.mark.parametrize(("text", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_data_file(text: str, message: str, tmp_path: Path) -> None:
    assert load(tmp_path, text).startswith(message)


def test_the_data_file_is_part_of_the_package() -> None:
    assert DATA_FILE.parent.name == "hardware"
