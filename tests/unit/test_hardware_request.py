"""Requested hardware: names, and figures of the user's own."""

import pytest

from fakerun.errors import UsageError
from fakerun.hardware.accelerator import FIGURES, Accelerator
from fakerun.hardware.catalogue import hardware_named
from fakerun.hardware.request import parse_hardware
from fakerun.units import GIB


@pytest.mark.parametrize(
    "text",
    [
        *("h100-80gb,memory=94GiB,power_limit=500W", " H100-80GB , memory = 94GiB , power_limit=500W "),
        *("{base: h100-80gb, memory: 94GiB, power_limit: 500W}", "{base: H100-80gb, memory: '94GiB', power_limit: 500W}"),
    ],
)
def test_every_form(text: str) -> None:
    hardware = parse_hardware(text)
    assert (hardware.usable_bytes, hardware.power_limit_w, hardware.multiprocessors) == (94 * GIB, 500, 132)
    assert str(hardware) == "h100-80gb,memory=94GiB,power_limit=500W"
    assert parse_hardware(str(hardware)) == hardware


def test_a_name_alone() -> None:
    assert parse_hardware("l4") == hardware_named("l4")
    assert str(parse_hardware("l4")) == "l4"


@pytest.mark.parametrize(
    ("figure", "field", "value"),
    [
        ("memory_bandwidth=3.35TB/s", "memory_bytes_per_s", 3.35e12),
        ("memory_clock=2619MHz", "memory_clock_hz", 2_619_000_000),
        ("l2_cache=50MiB", "l2_cache_bytes", 50 << 20),
        ("bfloat16=1PFLOPS", "bfloat16_flops", 1e15),
        ("compute_capability=12.0", "compute_capability", (12, 0)),
        ("multiprocessors=10", "multiprocessors", 10),
        ("device_name=NVIDIA X", "device_name", "NVIDIA X"),
    ],
)
def test_units(figure: str, field: str, value: object) -> None:
    assert getattr(parse_hardware(f"h100-80gb,{figure}"), field) == value


def test_figures_of_the_node() -> None:
    hardware: Accelerator = parse_hardware("h100-80gb,nic_bandwidth=400Gbit/s,nic_latency=5us,link_domain_size=16")
    node = hardware.interconnect
    assert (node.nic_bytes_per_s, node.domain_size) == (50e9, 16)
    assert node.nic_latency_s == pytest.approx(5e-6)


WRONG = {
    "h100-80gb,memory": "hardware 'h100-80gb,memory': 'memory' is not KEY=VALUE; give a name (h100-80gb), with figures ",
    "h100-80gb,memry=94GiB": f"unknown figure 'memry' (did you mean 'memory'?); known: {', '.join(FIGURES)}",
    "h100-80gb,memory=94": "memory: '94' is not an amount of memory: give a number and a unit (KiB, MiB, GiB, TiB, MB, GB, TB), as in",
    "h100-80gb,memory=-1GiB": "memory: '-1GiB' is not an amount of memory",
    "h100-80gb,memory=0GiB": "memory: '0GiB' is not possible: it must be above 0",
    "h100-80gb,memory=0.0000001KiB": "memory: '0.0000001KiB' is not possible: it must be above 0",
    "h100-80gb,memory=nanGiB": "memory: 'nanGiB' is not an amount of memory",
    "h100-80gb,memory_bandwidth=3.35TiB": "memory_bandwidth: '3.35TiB' is not a bandwidth: give a number and a unit (MB/s, ",
    "h100-80gb,bfloat16=989": "bfloat16: '989' is not a rate of operations",
    "h100-80gb,multiprocessors=0": "multiprocessors: '0' is not a whole number from 1 on",
    "h100-80gb,compute_capability=9": "compute_capability: '9' is not a compute capability: give major and minor version, as in 9.0",
    "h100-80gb,device_name=": "device_name: '' is not a name: give 1 to 100 printable characters",
    "h100-80gb,memory=1GiB,memory=2GiB": "hardware 'h100-80gb,memory=1GiB,memory=2GiB': memory is given twice: keep one",
    "h100-81gb,memory=94GiB": "unknown hardware 'h100-81gb' (did you mean 'h100-80gb'",
    "{memory: 94GiB}": "hardware '{memory: 94GiB}' has no base, or is no flat mapping; ",
    "{base: h100-80gb, memory: [94GiB]}": "hardware '{base: h100-80gb, memory: [94GiB]}' has no base, or is no flat mapping; ",
    "{base: h100-80gb": "hardware '{base: h100-80gb' is no YAML; ",
}


@pytest.mark.parametrize(("text", "message"), WRONG.items())
def test_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_hardware(text)
    assert str(error.value).startswith(message)
