"""A pull request against a baseline: a change of one line is explained on the right line, and an edit that changes nothing passes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from fakerun.analysis.baseline.compare import differences
from fakerun.analysis.baseline.difference import Difference, DifferenceKind
from fakerun.cli.baseline_files import load_baseline, write_baseline
from fakerun.launch import find_run_directory
from fakerun.report import Report, build_report
from fakerun.report.build_baseline import baseline_of, places_of
from tests.commands import fakerun

PROGRAM = '''\
"""FSDP2 on dp, a partial sum on tp, every layer recomputed in backward."""

import os

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.utils.checkpoint import checkpoint


class Layer(nn.Module):
    def __init__(self, dim, group):
        super().__init__()
        self.group = group
        self.up = nn.Linear(dim, 4 * dim, device="cuda")
        self.down = nn.Linear(4 * dim, dim, device="cuda")

    def forward(self, x):
        out = self.down(torch.relu(self.up(x)))
        dist.all_reduce(out.detach(), group=self.group)
        return x + out


class Model(nn.Module):
    def __init__(self, dim, layers, group):
        super().__init__()
        self.layers = nn.ModuleList(Layer(dim, group) for _ in range(layers))

    def forward(self, x):
        for layer in self.layers:
            x = checkpoint(layer, x, use_reentrant=False)
        return x


def main():
    torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl")
    seed = torch.zeros(1, dtype=torch.int64, device="cuda")
    dist.broadcast(seed, 0)
    mesh = init_device_mesh("cuda", (2, 2), mesh_dim_names=("dp", "tp"))
    model = Model(512, 4, mesh["tp"].get_group())
    for layer in model.layers:
        fully_shard(layer, mesh=mesh["dp"], reshard_after_forward=True)
    optimizer = torch.optim.AdamW(model.parameters())
    for _ in range(2):
        x = torch.randn(4096, 512).cuda()
        loss = model(x).sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()


main()
'''


def run_of(program: str, directory: Path) -> Report:
    """The report of ranks 0 and 1 of 4, one of each coordinate on tp."""
    directory.mkdir()
    (directory / "train.py").write_text(program)
    result = fakerun("train.py", "--world-size", "4", "--ranks", "0,1", "--run-dir", "run", cwd=directory)
    assert result.returncode in (0, 1), result.stderr
    kept = find_run_directory(directory / "run")
    job = kept.read_job()
    return build_report(job, kept.read_run(job))


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the run before the change, with its baseline."""
    directory = tmp_path_factory.mktemp("before") / "job"
    assert write_baseline(directory.parent / "train.baseline.yaml", baseline_of(run_of(PROGRAM, directory)))
    return directory.parent


def test_x(before: Path, tmp_path: Path) -> None:
    print((before / "train.baseline.yaml").read_text())
    for name, (old, new) in CHANGES.items():
        assert PROGRAM.count(old) == 1
        r = run_of(PROGRAM.replace(old, new), tmp_path / name)
        print("=====", name)
        for d in differences(load_baseline(before / "train.baseline.yaml"), baseline_of(r), places=places_of(r)):
            print(d.kind, d.call_site, "|", d.message)


CHANGES = {
    "checkpoint": ("checkpoint(layer, x, use_reentrant=False)", "layer(x)"),
    "mesh": ("(2, 2)", "(4, 1)"),
    "swapped": (
        "dist.all_reduce(out.detach(), group=self.group)",
        "dist.reduce_scatter_tensor(out.detach()[:2048], out.detach(), group=self.group)",
    ),
    "wider": (
        'self.up = nn.Linear(dim, 4 * dim, device="cuda")\n        self.down = nn.Linear(4 * dim, dim',
        'self.up = nn.Linear(dim, 6 * dim, device="cuda")\n        self.down = nn.Linear(6 * dim, dim',
    ),
    "set_device": ('    torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))\n', ""),
    "reshard": ("reshard_after_forward=True", "reshard_after_forward=False"),
}
