"""What a rank's journal holds is what its record would: the same program, written down both ways."""

import mmap
import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh

from fakerun.analysis.memory.timeline import timeline_of
from fakerun.hardware.request import parse_hardware
from fakerun.job.spec import JobSpec
from fakerun.launch.environment import worker_environment
from fakerun.rank.simulation import Simulation
from fakerun.records.journal import WINDOW_BYTES, Entry, Journal
from fakerun.records.journal_reader import recorded_in
from fakerun.records.run import RankRecord

WORLD_SIZE = 4
JOB = JobSpec(module="test", nproc_per_node=WORLD_SIZE, hardware=parse_hardware("h100-80gb"), steps=1000)


def train(blocks: int = 0) -> None:
    """Groups of every kind, calls that are waited for and not, resized storages, steps, findings, two devices."""
    mesh = init_device_mesh("cuda", (2, 2), mesh_dim_names=("dp", "tp"))
    for pair in ([0, 1], [2, 3]):
        dist.new_group(pair)
    x = torch.ones(8, 8, device="cuda")
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8)).cuda()
    optimizer = torch.optim.Adam(model.parameters())
    for _ in range(3):
        model(x).sum().backward()
        work = dist.all_reduce(x, group=mesh["dp"].get_group(), async_op=True)
        dist.all_reduce(x, group=mesh["tp"].get_group(), async_op=True)
        optimizer.step()
        optimizer.zero_grad()
        assert work is not None
        work.wait()
    x.untyped_storage().resize_(0)
    x.untyped_storage().resize_(1024)
    torch.ones(2, device="cuda:1")
    torch.ones(3, device="cuda").sum().item()
    for size in range(blocks):
        torch.ones(size + 1, device="cuda")
    dist.barrier()


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in worker_environment(JOB, 1, inherited={}, error_file=tmp_path / "error.json").items():
        monkeypatch.setenv(name, value)


def both(path: Path, blocks: int = 0) -> tuple[RankRecord, RankRecord | None]:
    """The record that the rank writes itself, and the one from its journal."""
    with Simulation(JOB, 1, journal=Journal(path)) as simulation:
        dist.init_process_group("nccl")
        train(blocks)
        return simulation.seen(), recorded_in(path, 1, world_size=WORLD_SIZE, asked=None)


@pytest.mark.usefixtures("environment")
def test_the_journal_holds_what_the_record_holds(tmp_path: Path) -> None:
    written, recovered = both(tmp_path / "journal")
    assert recovered is not None
    assert written.steps == 3
    assert len(written.collectives) == 7
    for name in ("rank", "mesh", "steps", "collectives", "group_creations", "devices", "findings", "torch_version"):
        assert getattr(recovered, name) == getattr(written, name), name


@pytest.mark.usefixtures("environment")
def test_a_journal_grows_beyond_its_first_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fakerun.records.journal.WINDOW_BYTES", mmap.PAGESIZE)
    written, recovered = both(tmp_path / "journal", blocks=300)
    assert (tmp_path / "journal").stat().st_size > 2 * mmap.PAGESIZE
    assert recovered is not None
    assert timeline_of(recovered.program) == timeline_of(written.program)


def test_a_journal_without_room_is_of_no_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part of it would pass for all that the rank did."""
    path = tmp_path / "journal"
    journal = Journal(path)
    assert recorded_in(path, 0, world_size=1, asked=None) == RankRecord(rank=0)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    for block in range(WINDOW_BYTES):
        journal.freed(block)
    assert not journal.is_written
    assert recorded_in(path, 0, world_size=1, asked=None) is None


@pytest.mark.parametrize("damage", [b"", b"\0", bytes([Entry.BLOCK]), b"\xff" * 100])
def test_a_journal_that_was_written_over_is_not_read(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "journal"
    Journal(path)
    data = bytearray(path.read_bytes())
    data[4 : 4 + len(damage)] = damage
    path.write_bytes(bytes(data) if damage else b"")
    recovered = recorded_in(path, 0, world_size=1, asked=None)
    assert recovered == (RankRecord(rank=0) if damage == b"\0" else None)


def test_a_rank_without_a_journal_has_nothing_to_recover(tmp_path: Path) -> None:
    assert recorded_in(tmp_path / "journal", 0, world_size=1, asked=None) is None
