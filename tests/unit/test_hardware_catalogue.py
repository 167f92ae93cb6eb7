"""The accelerators that are known by name."""

import pytest

from fakerun.errors import UsageError
from fakerun.hardware.catalogue import DEFAULT_HARDWARE, hardware_named, known_hardware
from fakerun.units import GIB

REQUIRED = ("a100-40gb", "a100-80gb", "h100-80gb", "h200", "b200", "mi300x", "l4", "rtx4090")


@pytest.mark.parametrize("name", REQUIRED)
def test_required(name: str) -> None:
    assert hardware_named(name).name == name


def test_capitals_do_not_matter() -> None:
    assert hardware_named("H100-80GB").name == "h100-80gb"


def test_one_in_full() -> None:
    h100 = hardware_named(DEFAULT_HARDWARE)
    assert h100.device_name == "NVIDIA H100 80GB HBM3"
    assert h100.usable_bytes == int(79.14 * GIB)
    assert h100.compute_capability == (9, 0)
    assert h100.multiprocessors == 132


@pytest.mark.parametrize("name", known_hardware())
def test_plausible(name: str) -> None:
    hardware = hardware_named(name)
    assert 20 * GIB < hardware.usable_bytes < 200 * GIB
    assert "out-of-memory" in hardware.source


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("h100", " (did you mean 'h100-80gb' or 'h200'?)"),
        ("A100", " (did you mean 'a100-80gb' or 'a100-40gb' or 'a10g'?)"),
        ("tpu", ""),
        ("", ""),
    ],
)
def test_unknown(name: str, hint: str) -> None:
    with pytest.raises(UsageError) as error:
        hardware_named(name)
    assert str(error.value) == f"unknown hardware {name!r}{hint}; known: {', '.join(known_hardware())}"
