"""The values of `torch.cuda.get_device_properties()`, from the hardware's data and for an added accelerator."""

from pathlib import Path

import pytest
import torch

from fakerun.hardware.catalogue import DATA_FILE, load_catalogue
from fakerun.rank.simulation import Simulation
from fakerun.records.finding_code import FindingCode
from tests.in_process import Simulate

FIELDS = (
    *("name", "major", "minor", "total_memory", "multi_processor_count", "warp_size", "max_threads_per_block", "is_integrated"),
    *("max_threads_per_multi_processor", "regs_per_multiprocessor", "shared_memory_per_multiprocessor", "shared_memory_per_block"),
    *("shared_memory_per_block_optin", "L2_cache_size", "is_multi_gpu_board", "gcnArchName", "uuid", "pci_bus_id", "pci_device_id"),
    *("pci_domain_id", "clock_rate", "memory_clock_rate", "memory_bus_width"),
)

ADDED = """
- name: rtx5090
  vendor: nvidia
  device_name: {value: NVIDIA GeForce RTX 5090, source: a book of cards}
  memory: {value: 31.37GiB, source: a book of cards}
  compute_capability: {value: "12.0", source: a book of cards}
  multiprocessors: {value: 170, source: a book of cards}
"""


def not_emulated(simulation: Simulation) -> list[str]:
    return [finding.message for finding in simulation.seen().findings if finding.code is FindingCode.NOT_EMULATED]


def test_a_card_is_added_by_one_entry(tmp_path: Path, simulate: Simulate) -> None:
    data = tmp_path / "accelerators.yaml"
    data.write_text(DATA_FILE.read_text(encoding="utf-8") + ADDED, encoding="utf-8")
    simulation = simulate(hardware=load_catalogue(data)["rtx5090"].accelerator)
    properties = torch.cuda.get_device_properties(0)
    assert [getattr(properties, field) for field in FIELDS][:5] == ["NVIDIA GeForce RTX 5090", 12, 0, int(31.37 * 2**30), 170]
    assert "sm_120" in torch.cuda.get_arch_list()
    assert "L2_cache_size=0MB" in repr(properties)
    (message,) = not_emulated(simulation)
    assert "torch.cuda.get_device_properties().max_threads_per_multi_processor" in message, "the first that is not known"


@pytest.mark.parametrize(
    ("hardware", "clocks"),
    [
        ("a100-40gb", (1_410_000, 1_215_000, 5120)),
        ("h100-80gb,clock=1.5GHz,memory_clock=2GHz,memory_bus_width=4096bit", (1_500_000, 2_000_000, 4096)),
    ],
)
def test_clocks_that_are_known_are_no_gap(hardware: str, clocks: tuple[int, int, int], simulate: Simulate) -> None:
    simulation = simulate(hardware=hardware)
    properties = torch.cuda.get_device_properties(0)
    assert (properties.clock_rate, properties.memory_clock_rate, properties.memory_bus_width) == clocks
    assert not not_emulated(simulation)


def test_an_unknown_clock_is_a_finding(simulate: Simulate) -> None:
    simulation = simulate(hardware="h100-96gb")
    assert torch.cuda.get_device_properties(0).clock_rate == 1
    (message,) = not_emulated(simulation)
    assert "clock_rate" in message


def test_figures_of_the_user(simulate: Simulate) -> None:
    simulate(hardware="h100-80gb,memory=94GiB,l2_cache=60MiB,device_name=NVIDIA H100 NVL")
    properties = torch.cuda.get_device_properties(0)
    assert (properties.name, properties.total_memory, properties.L2_cache_size) == ("NVIDIA H100 NVL", 94 << 30, 60 << 20)
    assert torch.cuda.mem_get_info() == (94 << 30, 94 << 30)
    assert torch.cuda.get_device_name() == "NVIDIA H100 NVL"


def test_the_properties_of_a_device_that_is_not_there(simulation: Simulation) -> None:
    """As torch 2.11 answered on a host with one H200."""
    for ask in (torch.cuda.get_device_properties, torch.cuda.get_device_name, torch.cuda.get_device_capability):
        with pytest.raises(AssertionError, match="Invalid device id"):
            ask(torch.cuda.device_count())


def test_all_fields_are_listed(simulation: Simulation) -> None:
    """Scripts that log all properties find them with `dir`, as on a GPU."""
    properties = torch.cuda.get_device_properties(0)
    assert {"L2_cache_size", "clock_rate", "memory_bus_width", "memory_clock_rate", "total_memory"} <= set(dir(properties))
