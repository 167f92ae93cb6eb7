"""A pull request against a baseline: a change of one line is explained on the right line, and an edit that changes nothing passes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from fakerun.analysis.baseline.compare import differences
from fakerun.analysis.baseline.difference import DifferenceKind
from fakerun.analysis.baseline.text import baseline_text
from fakerun.cli.baseline_files import load_baseline, write_baseline
from fakerun.launch import find_run_directory
from fakerun.report import Report, build_report
from fakerun.report.build_baseline import baseline_of, places_of
from tests.commands import fakerun

BASELINE = "train.baseline.yaml"

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
    assert write_baseline(directory.parent / BASELINE, baseline_of(run_of(PROGRAM, directory)))
    return directory.parent


@dataclass(frozen=True, kw_only=True)
class Change:
    """A change of the program, and what must be said: on which line (its text), of which kind, in which words, with which cause."""

    old: str
    new: str
    line: str
    kind: DifferenceKind
    what: str
    cause: str | None


LAYER = "            x = checkpoint(layer, x, use_reentrant=False)"
SHARD = 'fully_shard(layer, mesh=mesh["dp"], reshard_after_forward=True)'
UP = '        self.up = nn.Linear(dim, 4 * dim, device="cuda")\n        self.down = nn.Linear(4 * dim'
SUM = "dist.all_reduce(out.detach(), group=self.group)"

CHANGES = {
    "a removed checkpoint": Change(
        old=LAYER,
        new="            x = layer(x)",
        line="            x = layer(x)",
        kind=DifferenceKind.MEMORY,
        what="peak +80.0 MiB (204 MiB -> 284 MiB) allocated, +96.0 MiB reserved, activations of layers.* +112 MiB",
        cause="activation checkpoint removed",
    ),
    "a changed mesh": Change(
        old="(2, 2)",
        new="(4, 1)",
        line='    mesh = init_device_mesh("cuda", (4, 1), mesh_dim_names=("dp", "tp"))',
        kind=DifferenceKind.MESH,
        what="the mesh is dp=4,tp=1 instead of dp=2,tp=2",
        cause=None,
    ),
    "a swapped collective": Change(
        old=SUM,
        new="dist.reduce_scatter_tensor(out.detach()[:2048], out.detach(), group=self.group)",
        line="        dist.reduce_scatter_tensor(out.detach()[:2048], out.detach(), group=self.group)",
        kind=DifferenceKind.CALLS,
        what="all_reduce became reduce_scatter_tensor on tp in forward of layers.* (4 calls)",
        cause=None,
    ),
    "a wider layer": Change(
        old=UP,
        new=UP.replace("4 *", "6 *"),
        line='        self.up = nn.Linear(dim, 6 * dim, device="cuda")',
        kind=DifferenceKind.PARAMETERS,
        what="parameters of layers.*.up x1.5 (8.02 MiB -> 12.0 MiB)",
        cause="wider layer",
    ),
    "a missing set_device": Change(
        old='    torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))\n',
        new="",
        line='    seed = torch.zeros(1, dtype=torch.int64, device="cuda")',
        kind=DifferenceKind.DEVICES,
        what="ranks use cuda:0 instead of cuda:LOCAL_RANK",
        cause="set_device missing",
    ),
    "another reshard policy": Change(
        old=SHARD,
        new=SHARD.replace("True", "False"),
        line=f"        {SHARD.replace('True', 'False')}",
        kind=DifferenceKind.CALLS,
        what="-4 all_gather_into_tensor on dp in backward of layers.*",
        cause="reshard_after_forward changed",
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_is_explained_on_its_line(change: Change, before: Path, tmp_path: Path) -> None:
    assert PROGRAM.count(change.old) == 1
    program = PROGRAM.replace(change.old, change.new)
    report = run_of(program, tmp_path / "job")
    found = differences(load_baseline(before / BASELINE), baseline_of(report), places=places_of(report))
    explained = [each for each in found if (each.kind, each.what) == (change.kind, change.what)]
    assert explained, [each.message for each in found]
    assert explained[0].cause == change.cause
    site = explained[0].call_site
    assert site is not None
    assert (site.path, program.splitlines()[site.line - 1]) == ("train.py", change.line)
    compared = fakerun("compare", str(before / BASELINE), "run", cwd=tmp_path / "job")
    assert (compared.returncode, compared.stdout.split()[0]) == (1, "DIFFERENT")
    assert f"at {site}" in compared.stdout


NO_CHANGES = {
    "a comment and moved lines": lambda program: program.replace("class Layer", "# A layer.\n\n\nclass Layer"),
    "a renamed variable": lambda program: program.replace("out", "summed"),
    "an extracted function": lambda program: program.replace(f"        {SUM}", "        self.add(out)").replace(
        "\n\nclass Model", f"\n    def add(self, out):\n        {SUM}\n\n\nclass Model"
    ),
}


@pytest.mark.parametrize("edit", NO_CHANGES.values(), ids=NO_CHANGES)
def test_an_edit_that_changes_nothing_passes(edit: Callable[[str], str], before: Path, tmp_path: Path) -> None:
    program = edit(PROGRAM)
    assert program != PROGRAM
    report = run_of(program, tmp_path / "job")
    assert not differences(load_baseline(before / BASELINE), baseline_of(report), places=places_of(report))
    compared = fakerun("compare", str(before / BASELINE), "run", cwd=tmp_path / "job")
    assert (compared.returncode, compared.stdout.split()[0]) == (0, "EQUAL")
    lines = zip((before / BASELINE).read_text().splitlines(), baseline_text(baseline_of(report)).splitlines(), strict=True)
    other_functions = {(was.split()[-1], now.split()[-1]) for was, now in lines if was != now}
    assert other_functions == ({("Layer.forward", "Layer.add")} if "def add" in program else set())  # the file as it is, else
