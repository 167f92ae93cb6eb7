"""`fakerun run`: what a command line requests, what is refused, where the report goes. The launcher is fake: no rank is started."""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import fakerun
from fakerun.cli.app import main
from fakerun.cli.help import BRIEF
from fakerun.errors import ExitCode
from fakerun.hardware.catalogue import DEFAULT_HARDWARE, accelerator_names
from fakerun.job import launcher as job_launcher
from fakerun.job.forbidden import EVERY_OPERATION
from fakerun.job.out_of_memory import OutOfMemory
from fakerun.job.routing import Routing
from fakerun.job.spec import JobSpec
from fakerun.job.timing import Timing
from fakerun.job.torch_behaviour import TorchBehaviour
from fakerun.launch.job_run import RunWatcher
from fakerun.launch.run_directory import RunDirectory
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding
from fakerun.records.run import FailureKind, ProcessFailure, RankRecord, RunRecord
from fakerun.report import FORMATS


@dataclass
class Launcher:
    """A fake `run_job`: records the jobs that it is asked to run, and ends every rank as specified."""

    failure: ProcessFailure | None = None
    findings: tuple[Finding, ...] = ()
    jobs: list[JobSpec] = field(default_factory=list)
    at_a_time: list[int | None] = field(default_factory=list)

    def __call__(self, job: JobSpec, directory: RunDirectory, *, show_output: bool, jobs: int | None, watcher: RunWatcher) -> RunRecord:
        self.jobs.append(job)
        self.at_a_time.append(jobs)
        ranks = tuple(RankRecord(rank=rank, failure=self.failure, findings=self.findings) for rank in job.ranks)
        watcher.planned(job.ranks)
        for record in ranks:
            watcher.ended(record)
        return RunRecord(fakerun_version=fakerun.__version__, torch_version=None, ranks=ranks)


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with a script and a job file; no variable of the caller's."""
    for name in os.environ:
        if name.startswith(("FAKERUN_", "PET_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # for run directories: here
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # and in processes that a test starts
    Path("train.py").touch()
    Path("job.yaml").write_text("script: train.py\nargs: [--lr, 3]\nmesh: 2x4\nsteps: 5\nhardware: h200\n")
    return tmp_path


@pytest.fixture
def launcher(monkeypatch: pytest.MonkeyPatch) -> Launcher:
    launcher = Launcher()
    monkeypatch.setattr("fakerun.launch.run_job", launcher)
    return launcher


@pytest.fixture
def job_of(launcher: Launcher) -> Callable[[str], JobSpec]:
    def run(line: str) -> JobSpec:
        assert main(line.split()) == 0
        return launcher.jobs[-1]

    return run


JobOf = Callable[[str], JobSpec]


@pytest.mark.parametrize(
    ("line", "script", "module", "args"),
    [
        ("train.py --world-size 8", "train.py", None, ()),
        ("run train.py --world-size 8", "train.py", None, ()),
        ("train.py --world-size 8 -- --steps 9 -- x", "train.py", None, ("--steps", "9", "--", "x")),
        ("train.py 10 20 --world-size 8 -- --lr 3", "train.py", None, ("10", "20", "--lr", "3")),
        ("--world-size 8 train.py --steps 9 x", "train.py", None, ("--steps", "9", "x")),
        ("run --world-size 8 train.py -overbose", "train.py", None, ("-overbose",)),
        ("--world-size 8 train.py -- --lr 3", "train.py", None, ("--", "--lr", "3")),  # as torchrun does
        ("--world-size=8 -m package.train --lr 3", None, "package.train", ("--lr", "3")),
        ("-m --world-size 8 package.train", None, "package.train", ()),
        ("package.train -m --world-size 8 -- --lr 3", None, "package.train", ("--lr", "3")),
        ("job.yaml", "train.py", None, ("--lr", "3")),
        ("job.yaml -- --lr 4", "train.py", None, ("--lr", "3", "--lr", "4")),
        ("--rank 1 job.yaml --lr 4", "train.py", None, ("--lr", "3", "--lr", "4")),
    ],
)
def test_grammar(job_of: JobOf, line: str, script: str | None, module: str | None, args: tuple[str, ...]) -> None:
    job = job_of(line)
    assert (job.script, job.module, job.args) == (Path(script) if script else None, module, args)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("train.py --world-size 16", {"nnodes": 2, "nproc_per_node": 8, "ranks": (0,), "steps": 2}),
        ("train.py --world-size 8 --steps all", {"steps": None}),
        ("train.py --world-size 8 --ranks 0,4-7", {"ranks": (0, 4, 5, 6, 7)}),
        ("train.py --world-size 4 --ranks=all", {"ranks": (0, 1, 2, 3)}),
        ("job.yaml --ranks 1-2", {"ranks": (1, 2)}),
        ("train.py --nnodes 2 --nproc-per-node 4 --rank 7", {"nnodes": 2, "nproc_per_node": 4, "ranks": (7,)}),
        ("train.py --nnodes=1:4 --nproc_per_node=4", {"nnodes": 4, "nproc_per_node": 4}),
        ("train.py --nproc-per-node gpu --world-size 4", {"nnodes": 1, "nproc_per_node": 4}),
        ("train.py --mesh 2x4 --steps 3 --timeout 1.5", {"nproc_per_node": 8, "steps": 3, "timeout_s": 1.5}),
        ("train.py --mesh dp=2,tp=4 --hardware l4", {"nproc_per_node": 8, "routing": Routing.BALANCED}),
        ("train.py --world-size 8 --routing worst", {"routing": Routing.WORST}),
        ("train.py --world-size 8", {"launcher": job_launcher.Launcher.TORCHRUN}),
        ("train.py --world-size 8 --alloc-conf expandable_segments:True", {"alloc_conf": "expandable_segments:True"}),
        ("--nproc-per-node 8 --launcher mpi train.py", {"launcher": job_launcher.Launcher.MPI}),
        ("train.py --world-size 8", {"oom": OutOfMemory.REPORT}),
        ("train.py --world-size 8 --oom raise", {"oom": OutOfMemory.RAISE}),
        ("train.py --world-size 8", {"torch_behaviour": None}),
        ("train.py --world-size 8 --torch-behaviour 2.6", {"torch_behaviour": TorchBehaviour.V2_6}),
        ("train.py --world-size 8 --tokens-per-step 65536", {"timing": Timing(tokens_per_step=65536)}),
        ("train.py --world-size 8 --interconnect aws-p5", {"timing": Timing(interconnect="aws-p5")}),
        ("train.py --world-size 8", {"error_on_collective": ()}),
        ("train.py --world-size 8 --error-on-collective", {"error_on_collective": EVERY_OPERATION, "args": ()}),
        ("train.py --error_on_collective --world-size 8", {"error_on_collective": EVERY_OPERATION, "nproc_per_node": 8}),
        ("--nproc-per-node 8 --error-on-collective train.py --lr 3", {"error_on_collective": EVERY_OPERATION, "args": ("--lr", "3")}),
        ("--nproc-per-node 8 train.py --error-on-collective", {"error_on_collective": (), "args": ("--error-on-collective",)}),
        ("--nproc-per-node 8 --error-on-collective train.py --error_on_collective", {"args": ("--error_on_collective",)}),
        ("train.py --world-size 8 -- --error-on-collective x", {"error_on_collective": (), "args": ("--error-on-collective", "x")}),
        ("train.py --world-size 8 --error-on-collective=all", {"error_on_collective": EVERY_OPERATION}),
        ("train.py --world-size 8 --error-on-collective=send,all_reduce", {"error_on_collective": ("all_reduce", "send")}),
        ("job.yaml --error-on-collective=0", {"error_on_collective": ()}),
        ("job.yaml", {"nproc_per_node": 8, "steps": 5}),
        ("job.yaml --steps 1 --rank 3", {"steps": 1, "ranks": (3,)}),
        ("job.yaml --nnodes 2", {"nnodes": 2, "nproc_per_node": 4}),
    ],
)
def test_job(job_of: JobOf, line: str, expected: dict[str, Any]) -> None:
    job = job_of(line)
    assert {name: getattr(job, name) for name in expected} == expected


_VARIABLES = {
    "FAKERUN_STEPS": "7",
    "FAKERUN_RANK": "1",
    "FAKERUN_ROUTING": "worst",
    "FAKERUN_ERROR_ON_COLLECTIVE": "1",
    "PET_NNODES": "2",
    "FAKERUN_NNODES": "4",
    "PET_STEPS": "99",
}


def test_order_of_sources(job_of: JobOf, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in _VARIABLES.items():
        monkeypatch.setenv(name, value)
    assert (job_of("train.py --nproc-per-node 2").steps, job_of("train.py --nproc-per-node 2").nnodes) == (7, 4)
    assert (job_of("job.yaml").steps, job_of("job.yaml").ranks, job_of("job.yaml").routing) == (7, (1,), Routing.WORST)
    assert job_of("job.yaml").hardware.name == "h200"
    assert job_of("job.yaml --steps 6").steps == 6
    assert job_of("job.yaml").error_on_collective == EVERY_OPERATION
    assert job_of("job.yaml --error-on-collective=send").error_on_collective == ("send",)
    assert job_of("train.py --world-size 3").nnodes == 1


SEVERAL = "version: 1\ndefaults: {script: train.py}\njobs:\n  one: {world_size: 2}\n  two: {matrix: {mesh: [2x2, 4x2]}}\n"


def test_one_job_of_several(job_of: JobOf) -> None:
    Path("fakerun.yaml").write_text(SEVERAL)
    assert job_of("fakerun.yaml#one").world_size == 2
    assert job_of("fakerun.yaml#two[mesh=4x2] --steps 3").steps == 3
    assert job_of("fakerun.yaml#two[mesh=4x2] -- --lr 3").args == ("--lr", "3")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "fakerun.yaml",
            "fakerun.yaml: describes several jobs: one, two[mesh=2x2], two[mesh=4x2]; run one, as in fakerun 'fakerun.yaml#one', or check "
            "all: fakerun check fakerun.yaml",
        ),
        (
            "fakerun.yaml#two",
            "fakerun.yaml: describes several jobs: two[mesh=2x2], two[mesh=4x2]; run one, as in fakerun 'fakerun.yaml#two[mesh=2x2]', or "
            "check all: fakerun check fakerun.yaml",
        ),
        ("fakerun.yaml#onne", "fakerun.yaml: no job 'onne' (did you mean 'one'?); jobs: one, two[mesh=2x2], two[mesh=4x2]"),
    ],
)
def test_several_jobs_are_not_run(line: str, message: str, launcher: Launcher, capsys: pytest.CaptureFixture[str]) -> None:
    Path("fakerun.yaml").write_text(SEVERAL)
    assert main(line.split()) == ExitCode.USAGE
    assert capsys.readouterr().err == f"fakerun: error: {message}\n"
    assert not launcher.jobs


def test_any_torchrun_line(job_of: JobOf, capsys: pytest.CaptureFixture[str]) -> None:
    """Every option that `torchrun --help` of torch 2.13 lists."""
    job = job_of(
        "--nnodes=1:2 --nproc_per_node=8 --rdzv-backend c10d --rdzv_endpoint=host:29400 --rdzv-id 7 --rdzv-conf a=1 --standalone "
        "--max-restarts=3 --monitor-interval 1 --start-method fork --event-log-handler null --role trainer -m --run-path --log-dir /tmp "
        "-r 3 -t 3 --redirects=0 --tee 0 --local-ranks-filter 0 --duplicate-stdout-filters a --duplicate-stderr-filters b --node-rank=1 "
        "--master-addr=host --master_port 29500 --local-addr host --logs-specs x --numa-binding node --signals-to-handle SIGTERM "
        "--shutdown-timeout 3 --virtual-local-rank package.train --lr 3"
    )
    assert (job.module, job.args, job.world_size) == ("package.train", ("--lr", "3"), 16)
    notes = [line for line in capsys.readouterr().err.splitlines() if "note:" in line]
    assert notes[0] == "fakerun: note: --nnodes 1:2: simulating 2 nodes"
    assert notes[1].startswith("fakerun: note: ignored, because only a real launch needs it: --rdzv-backend, --rdzv-endpoint, --rdzv-id,")
    assert len(notes) == 2


def test_a_file_or_a_module_may_be_called_nearly_as_a_command(job_of: JobOf) -> None:
    Path("rum").touch()
    assert job_of("rum --world-size 2").script == Path("rum")
    assert job_of("reprot -m --world-size 2").module == "reprot"


@pytest.mark.parametrize("option", ["--run-dir kept", "--run-path", "--trace", "-r 3"])
def test_an_option_that_comes_first_is_no_mistyped_command(option: str, job_of: JobOf) -> None:
    """Without its dashes `--run-dir` is near to `run`."""
    assert job_of(f"{option} --world-size 2 train.py --lr 3").args == ("--lr", "3")


def test_torchruns_options_are_accepted_from_variables(
    job_of: JobOf, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PET_STANDALONE", "1")
    monkeypatch.setenv("PET_RDZV_ID", "7")
    assert job_of("train.py --world-size 2").world_size == 2
    assert "fakerun: note: ignored, because only a real launch needs it: --standalone, --rdzv-id" in capsys.readouterr().err


def test_a_misplaced_option_is_pointed_at(job_of: JobOf, capsys: pytest.CaptureFixture[str]) -> None:
    job_of("--nproc-per-node 2 train.py --world_size 8")
    assert (
        "fakerun: note: --world_size comes after the script, so it is passed to the script; put it before the script to pass it to fakerun"
        in capsys.readouterr().err.splitlines()
    )


USAGE_ERRORS = {
    "nope.py --world-size 2": "no such script: nope.py",
    "nope --world-size 2": "no such script: nope",
    "reprot run": "no such script or command: reprot (did you mean 'report'?)",
    "rum train.py --world-size 2": "no such script or command: rum (did you mean 'run'?)",
    "rum.py --world-size 2": "no such script: rum.py",
    ". --world-size 2": ".: is a directory; pass the script in it, or -m for a package",
    "run": "no script given: run fakerun SCRIPT --world-size N, or see fakerun --help",
    "--world-size 2": "no script given: run fakerun SCRIPT --world-size N, or see fakerun --help",
    "train.py --ranks 0-3": (
        "the number of ranks is unknown; pass --world-size N, or --nnodes N --nproc-per-node N, or --mesh (in a job file: world_size)"
    ),
    "train.py --world-size 0": "world size 0: must be at least 1",
    "train.py --world-size 8 --steps al": "steps 'al': must be a whole number of at least 1, or all",
    "train.py --world-size 8 --steps -1": "steps '-1': must be a whole number of at least 1, or all",
    "train.py --world-size eight": "Invalid value for '--world-size': 'eight' is not a whole number",
    "train.py --world-size": "Option '--world-size' requires an argument.",
    "train.py --world-size 8 --ranks 8": "rank 8 does not exist: a world size of 8 has ranks 0 to 7",
    "train.py --world-size 8 --ranks x": (
        "ranks 'x': 'x' is neither a number nor a range; write all, auto, or numbers and ranges as in 0,4-7"
    ),
    "train.py --world-size 8 --rank 1 --ranks all": "--rank 1 and --ranks all: pass only one of them",
    "train.py --world-size 8 --jobs 0": "--jobs 0: must be at least 1",
    "train.py --world-size 8 --rank 8": "rank 8 does not exist: a world size of 8 has ranks 0 to 7",
    "train.py --world-size 8 --mesh 3x3": ("mesh 3x3 (dp 3, tp 3) has 9 ranks, but the world size is 8; change one of them"),
    "train.py --mesh 2by4": "mesh '2by4' is neither sizes nor named sizes; write 2x4 or dp=2,tp=4",
    "train.py --world-size 8 --hardware l5": (f"unknown hardware 'l5'; known: {', '.join(accelerator_names())}"),
    "train.py --alloc-conf max_split_size_mb:2": (
        "alloc-conf 'max_split_size_mb:2': CachingAllocator option max_split_size_mb too small, must be >= 20; write it as "
        "PYTORCH_ALLOC_CONF, as in expandable_segments:True"
    ),
    "train.py --world-size 8 --launcher srun": "unknown launcher 'srun'; known: torchrun, slurm, mpi",
    "train.py --world-size 8 --oom stop": "unknown oom 'stop'; known: report, raise",
    "train.py --world-size 8 --torch-behaviour 1.9": "unknown torch behaviour '1.9'; known: 2.5, 2.6, 2.7, 2.8",
    "train.py --world-size 8 --routing wurst": "unknown routing 'wurst' (did you mean 'worst'?); known: balanced, worst",
    "train.py --world-size 8 --error-on-collective=all_reduc": (
        "unknown operation 'all_reduc' (did you mean 'all_reduce' or 'reduce'?); known: all_reduce, all_gather, all_gather_into_tensor, "
        "reduce, reduce_scatter, "
        "reduce_scatter_tensor, broadcast, scatter, gather, all_to_all, all_to_all_single, send, recv, barrier"
    ),
    "train.py --world-size 8 --error-on-collective=": (
        "no operation given; leave out the value to forbid all, or list some as in all_reduce,send"
    ),
    "train.py --world-size 8 --timeout soon": "Invalid value for '--timeout': 'soon' is not a number of seconds",
    "train.py --world-size 8 --format jsn": (
        "unknown format 'jsn' (did you mean 'json' or 'jsonl'?); known: table, json, markdown, comment, "
        "junit, sarif, github, gitlab, csv, jsonl, "
        "svg, memory_snapshot, trace, timeline"
    ),
    "train.py --world-size 8 -o .": "output .: is a directory; pass a file in it, as in report.json",
    "train.py --world-size 8 -o no/report.json": "output no/report.json: no such directory: no; create it first",
    "train.py --world-siez 8": (
        "no such option: --world-siez (did you mean '--world-size'?); options for the script go after --, as in: "
        "fakerun train.py -- --world-siez"
    ),
    "train.py -x": "no such option: -x; options for the script go after --, as in: fakerun train.py -- -x",
    "--lr 3 train.py": "no such option: --lr; options for the script go after the script",
    "--world-size 2 --no-python train.py": "--no-python is not supported: only Python programs can be simulated",
    "--nnodes 4:2 --nproc-per-node 2 train.py": "--nnodes '4:2': not a valid range; write the minimum first, at least 1, as in 1:4",
    "--nnodes some --nproc-per-node 2 train.py": "--nnodes 'some': neither a number nor a range; write 4 or 1:4",
    "--nproc-per-node all train.py": (
        "--nproc-per-node 'all': not a number; write a number (or auto, cpu, gpu, xpu, with --world-size or --mesh)"
    ),
    "train.py --world-size 8 --max-memory lots": (
        "--max-memory: 'lots' is not an amount of memory: give a number and a unit (KiB, MiB, GiB, TiB, MB, GB, TB), as in 94GiB, "
        "or a share of the accelerator's memory, as in 90%"
    ),
    "train.py --world-size 8 --max-memory 0GiB": (
        "--max-memory: '0GiB' is not possible: it must be above 0, or a share of the accelerator's memory, as in 90%"
    ),
    "train.py --world-size 8 --max-memory 101%": "--max-memory: '101%' is not possible: a share must be above 0 % and at most 100 %",
    "train.py --world-size 8 --ignore does-not-fitt": (
        "--ignore does-not-fitt: no finding has this code (did you mean 'does-not-fit'?); docs/findings.md lists all"
    ),
    "-m train.py --lr 3": "train.py is a file, not a module; drop -m (in a job file: use script, not module)",
    "nope.yaml": "nope.yaml: cannot read the file: No such file or directory (did you mean 'job.yaml'?)",
    "job.yaml --rank 8": "rank 8 does not exist: a world size of 8 has ranks 0 to 7",
    "job.yaml --world-size 16": ("mesh 2x4 (dp 2, tp 4) has 8 ranks, but the world size is 16; change one of them"),
}


@pytest.mark.parametrize(("line", "message"), USAGE_ERRORS.items())
def test_usage_errors(launcher: Launcher, capsys: pytest.CaptureFixture[str], line: str, message: str) -> None:
    assert main(line.split()) == 2
    captured = capsys.readouterr()
    assert captured.err.splitlines()[-1] == f"fakerun: error: {message}"
    assert captured.out == ""
    assert launcher.jobs == []


def test_every_error_of_a_job_file_is_reported(launcher: Launcher, capsys: pytest.CaptureFixture[str]) -> None:
    Path("job.yaml").write_text("script: train.py\nmesh: 2:4\nsteps: 0\n")
    assert main(["job.yaml", "--mesh", "2x4"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "fakerun: error: job.yaml:2: mesh: 2:4 is a base-60 number in YAML; quote it ('2:4'), or write a mesh as 2x4",
        "fakerun: error: job.yaml:3: steps: must be at least 1, or all, not 0",
    ]
    assert launcher.jobs == []


@pytest.mark.usefixtures("launcher")
def test_report_on_stdout_and_the_rest_on_stderr(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train.py", "--mesh", "dp=2,tp=4", "--rank", "3", "--format", "json", "--run-dir", "kept"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["job"]["mesh"] == {"dp": 2, "tp": 4}
    assert captured.err.splitlines() == [
        "fakerun: simulating rank 3 of 8 (1 node x 8), mesh dp=2,tp=4 on h100-80gb",
        f"fakerun: run directory: {directory / 'kept'}",
    ]


@pytest.mark.usefixtures("launcher")
@pytest.mark.parametrize(("options", "is_json"), [("-o r.json", True), ("--output=r.txt", False), ("-o r.json --format table", False)])
def test_report_in_a_file(capsys: pytest.CaptureFixture[str], options: str, is_json: bool) -> None:
    assert main(["train.py", "--world-size", "2", *options.split()]) == 0
    assert capsys.readouterr().out == ""
    report = next(Path().glob("r.*")).read_text()
    assert report.startswith("{") == is_json
    assert report.endswith("\n")
    assert not list(Path().glob(".*.tmp"))


def test_the_most_severe_finding_is_printed_when_the_report_goes_to_a_file(launcher: Launcher, capsys: pytest.CaptureFixture[str]) -> None:
    launcher.findings = (
        Finding(code=FindingCode.DOES_NOT_FIT, message="by far"),
        Finding(code=FindingCode.UNKNOWN_VALUE, message="made up"),
    )
    assert main(["train.py", "--world-size", "2", "-o", "r.json"]) == 1
    assert capsys.readouterr().err.splitlines()[1:] == ["fakerun: does-not-fit: by far"]


@pytest.mark.parametrize("failed", [True, False])
def test_a_temporary_run_directory_stays_only_after_a_failure(
    launcher: Launcher, directory: Path, capsys: pytest.CaptureFixture[str], failed: bool
) -> None:
    launcher.failure = ProcessFailure(kind=FailureKind.EXIT, exception=None, message="it ended") if failed else None
    assert main(["train.py", "--world-size", "2"]) == (3 if failed else 0)
    kept = [f"fakerun: run directory: {path}" for path in directory.glob("fakerun-*")]
    assert len(kept) == failed
    assert capsys.readouterr().err.splitlines()[1:] == kept


@pytest.mark.usefixtures("launcher")
@pytest.mark.parametrize("is_terminal", [True, False])
def test_the_page_is_as_wide_as_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], is_terminal: bool
) -> None:
    monkeypatch.setenv("COLUMNS", "70")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal)
    assert main(["train.py", "--mesh", "dp=2,tp=4", "--", "a" * 90]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert (max(map(len, lines)) <= 70) == is_terminal


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (FailureKind.EXCEPTION, 3),
        (FailureKind.EXIT, 3),
        (FailureKind.SIGNAL, 3),
        (FailureKind.TIMEOUT, 3),
        (FailureKind.GAP, 4),
        (FailureKind.INTERNAL, 4),
        (FailureKind.USAGE, 2),
        (FailureKind.INTERRUPTED, 130),
    ],
)
def test_exit_codes_of_failures(launcher: Launcher, capsys: pytest.CaptureFixture[str], kind: FailureKind, code: int) -> None:
    launcher.failure = ProcessFailure(kind=kind, exception=None, message="it ended")
    assert main(["train.py", "--world-size", "2", "--format", "json"]) == code
    assert json.loads(capsys.readouterr().out)["ranks"][0]["status"] == "failed"  # a report whatever happens


def test_an_internal_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(job: JobSpec, directory: RunDirectory, **_: object) -> RunRecord:
        raise ZeroDivisionError

    monkeypatch.setattr("fakerun.launch.run_job", broken)
    assert main(["train.py", "--world-size", "2"]) == 4
    error = capsys.readouterr().err
    assert "ZeroDivisionError" in error
    last = error.splitlines()[-1]
    assert last.startswith("fakerun: error: internal error in fakerun; please report it with the traceback above; the run directory is ")
    assert Path(last.rpartition(" ")[2]).is_dir()


def fakerun_process(*args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fakerun.cli.app", *args], check=False, capture_output=True, text=True, env={**os.environ, **environment}
    )


def test_version() -> None:
    process = fakerun_process("--version")
    assert (process.returncode, process.stdout, process.stderr) == (0, f"fakerun {fakerun.__version__}\n", "")


HELP = {"fakerun": "run", "run": "run", "train.py": "run", "report": "report"}
_OPTION = re.compile(r"(?<![\w-])--?[a-zA-Z][\w-]*")


@pytest.mark.parametrize(("first", "command"), HELP.items())
def test_help_fits_a_terminal_and_ends_with_the_exit_codes(capsys: pytest.CaptureFixture[str], first: str, command: str) -> None:
    assert main([*([] if first == "fakerun" else [first]), "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    assert "\n".join(lines) == BRIEF[command].rstrip()
    assert any(line.startswith("Example: fakerun ") for line in lines)
    text = " ".join(lines)
    assert all(f" {int(code)} " in text for code in ExitCode)


@pytest.mark.parametrize("command", BRIEF)
def test_help_names_only_options_that_there_are(capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert main([command, "--help-all"]) == 0
    known = set(_OPTION.findall(capsys.readouterr().out))
    assert set(_OPTION.findall(BRIEF[command])) - {"--run-dir"} <= known


@pytest.mark.parametrize("args", [(), ("--help",), ("-h",)])
def test_help_of_the_whole_command_is_that_of_run(args: tuple[str, ...]) -> None:
    process = fakerun_process(*args)
    assert (process.returncode, process.stdout) == (0, BRIEF["run"])


def test_the_full_help_has_all_options_but_those_of_torchrun_that_do_nothing() -> None:
    text = " ".join(fakerun_process("--help-all").stdout.split())
    assert text.startswith("Usage: fakerun [run] SCRIPT [OPTIONS] [-- SCRIPT ARGUMENTS]")
    assert all(option in text for option in ("--world-size N", "--error-on-collective", "--version", "report"))
    assert "--rdzv-backend" not in text
    assert f"(h100-80gb,memory=94GiB): {', '.join(accelerator_names())}. [default: {DEFAULT_HARDWARE}]" in text


def test_usage_error_of_a_process() -> None:
    process = fakerun_process("train.py", "--world-size", "8", "--rank", "8")
    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr == "fakerun: error: rank 8 does not exist: a world size of 8 has ranks 0 to 7\n"


COMPLETIONS = {
    "fakerun --wor": ["--world-size"],
    "fakerun r": ["run", "report"],
    "fakerun train.py --hardware h": ["h100-80gb", "h100-pcie", "h100-96gb", "h200", "h20"],
    "fakerun train.py --format ": list(FORMATS),
    "fakerun train.py --routing ": ["balanced", "worst"],
    "fakerun train.py --launcher ": ["torchrun", "slurm", "mpi"],
    "fakerun run train.py --nn": ["--nnodes"],
}


@pytest.mark.parametrize(("line", "completions"), COMPLETIONS.items())
def test_completion(line: str, completions: list[str]) -> None:
    process = fakerun_process(_FAKERUN_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD=str(len(line.split(" ")) - 1))
    assert process.stdout.split() == completions


WITH_A_FAKE_LAUNCHER = """
import sys
import fakerun.launch
from fakerun.cli.app import main
from fakerun.records.run import RankRecord, RunRecord

fakerun.launch.run_job = lambda job, directory, **_: RunRecord(fakerun_version="", torch_version=None, ranks=(RankRecord(rank=0),))
sys.exit(main(["train.py", "--world-size", "2", *sys.argv[1:]]))
"""


def test_a_closed_pipe_is_no_error() -> None:
    """`fakerun ... | head`, where head is gone before the report comes."""
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.run([sys.executable, "-c", WITH_A_FAKE_LAUNCHER], check=False, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert process.returncode == 0
    assert all(line.startswith("fakerun: ") for line in process.stderr.splitlines())


def test_a_pipe_is_written_to_and_not_replaced() -> None:
    os.mkfifo("pipe")
    pipe = os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)  # a command that never writes must fail the test, not hang it
    result = subprocess.run([sys.executable, "-c", WITH_A_FAKE_LAUNCHER, "-o", "pipe", "--format", "json"], check=False, timeout=60)
    with os.fdopen(pipe, "rb") as written:
        assert json.loads(written.read())["schema_version"] == 2
    assert result.returncode == 0
    assert Path("pipe").is_fifo()
