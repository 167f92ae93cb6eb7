"""Bad input as declared data: what the user types, and what must come of it.

Of each case the exit code is 2, stdout is empty, the last line on stderr is the message, there is no traceback, no rank is started, and
nothing is left behind. Mistakes in job files are in `test_job_yaml_job.py`, more of `run`'s in `test_cli_run.py`, those that only a run
shows in `tests/e2e/test_bad_input.py`.
"""

import errno
import gzip
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import fakerun
from fakerun.cli.app import main
from fakerun.hardware.accelerator import FIGURES
from fakerun.hardware.catalogue import accelerator_names
from fakerun.hardware.request import parse_hardware
from fakerun.job.spec import JobSpec
from fakerun.launch.run_directory import RunDirectory, open_run_directory
from fakerun.records.collective import CollectiveOp
from fakerun.records.run import RankRecord, RunRecord

JOB = JobSpec(script=Path("train.py"), hardware=parse_hardware("h100-80gb"), ranks=(0,))


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current directory, with scripts, job files, what is neither, a run that is kept, and one that is being written."""
    for name in os.environ:
        if name.startswith(("FAKERUN_", "PET_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = signal.getsignal(signal.SIGTERM)
    Path("train.py").touch()
    Path("other.py").touch()
    Path("job.yaml").write_text("script: train.py\nworld_size: 2\n")
    Path("sub").mkdir()
    Path("sub/notes.txt").touch()
    make_what_is_no_file()
    with open_run_directory(Path("kept")) as kept:
        keep_run(kept, JOB)
    with open_run_directory(Path("locked")) as locked:
        keep_run(locked, JOB)
        yield tmp_path
    signal.signal(signal.SIGTERM, before)


def make_what_is_no_file() -> None:
    links = {"loop": "loop", "loop.yaml": "loop.yaml", "gone.py": "away.py", "null": "/dev/null"}
    outputs = {"link.json": "train.py", "linked.json": "sub/notes.txt", "dangling.json": "nothing"}
    for link, target in (links | outputs).items():
        Path(link).symlink_to(target)
    os.mkfifo("pipe")
    os.mkfifo("pipe.yaml")
    Path("sub.yaml").mkdir()
    Path("big.yaml").write_text("#" * 200_000)
    Path("binary.yaml").write_bytes(b"\xff\xfe")
    Path("empty.yaml").touch()


def keep_run(directory: RunDirectory, job: JobSpec) -> None:
    """What a run leaves in its directory."""
    directory.write_job(job)
    directory.rank(0).make()
    directory.records.write(RankRecord(rank=0))
    directory.records.write_run(RunRecord(fakerun_version=fakerun.__version__, torch_version=None, ranks=()))


def check(args: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(Path.cwd().rglob("*"))
    assert main(args) == 2
    captured = capsys.readouterr()
    assert captured.err.splitlines()[-1] == f"fakerun: error: {message}"
    assert captured.out == ""
    assert "Traceback" not in captured.err
    assert sorted(Path.cwd().rglob("*")) == before


KNOWN = {
    "accelerators": ", ".join(accelerator_names()),
    "operations": ", ".join(CollectiveOp),
    "figures": ", ".join(FIGURES),
    "formats": "table, json, markdown, comment, junit, sarif, github, gitlab, csv, jsonl, svg, memory_snapshot, trace, timeline",
    "endings": ".txt, .json, .md, .xml, .sarif, .csv, .jsonl, .svg, .pickle",
}

COMMAND_LINES = {
    "nope.py": "no such script: nope.py (did you mean 'gone.py' or 'other.py'?)",
    "tarin.py": "no such script: tarin.py (did you mean 'train.py' or 'other.py'?)",
    "train": "no such script: train (did you mean 'train.py'?)",
    "train.yaml": "train.yaml: cannot read the file: No such file or directory (did you mean 'train.py' or 'binary.yaml' or 'big.yaml'?)",
    "jobb.yaml": "jobb.yaml: cannot read the file: No such file or directory (did you mean 'job.yaml' or 'sub.yaml' or 'big.yaml'?)",
    "sub": "sub: is a directory; pass the script in it, or -m for a package",
    "sub/nope.py": "no such script: sub/nope.py",
    "nodir/train.py": "no such script: nodir/train.py",
    "loop": "loop: Too many levels of symbolic links; pass the path of a script",
    "gone.py": "gone.py: is a link to away.py, which does not exist",
    "pipe": "pipe: is a device or a pipe, which cannot be read by every rank; pass a file",
    "null": "null: is a device or a pipe, which cannot be read by every rank; pass a file",
    "unreadable": "no such script: unreadable",
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx": "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx: File name too long; pass the path of a script",
    "loop.yaml": "loop.yaml: cannot read the file: Too many levels of symbolic links",
    "pipe.yaml": "pipe.yaml: is a device or a pipe, not a file; such a file is a short text",
    "big.yaml": "big.yaml: has 200000 bytes; at most 131072 are read; such a file is a short text",
    "binary.yaml": "binary.yaml:1: not UTF-8: byte 0xff",
    "empty.yaml": "empty.yaml:1: the file is empty",
    "sub.yaml": "sub.yaml: cannot read the file: Is a directory",
    "rn train.py": "no such script or command: rn (did you mean 'run'?)",
    "repport kept": "no such script or command: repport (did you mean 'report'?)",
    "runn": "no such script or command: runn (did you mean 'run'?)",
    "report": "missing argument 'RUN_DIRECTORY'; see fakerun report --help",
    "compare": "missing argument 'OLD'; see fakerun compare --help",
    "report nope": "nope: not a fakerun run directory; pass the directory you gave to --run-dir",
    "report train.py": "train.py: not a fakerun run directory; pass the directory you gave to --run-dir",
    "report sub": "sub: not a fakerun run directory; pass the directory you gave to --run-dir",
    "report kept extra": "Got unexpected extra argument(s) (extra)",
    "report kept --world-size 2": "No such option: --world-size",
    "report kept -o train/x.json": "output train/x.json: no such directory: train; create it first",
    "report kept --format xml": "unknown format 'xml'; known: {formats}",
    "report kept --hardware h10": "unknown hardware 'h10' (did you mean 'h100-80gb' or 'h100-pcie' or 'h100-96gb'?); known: {accelerators}",
    "-m": "no script given: run fakerun SCRIPT --world-size N, or see fakerun --help",
    "-m a-b": "'a-b' is not a module name; write it as in package.module",
    "-m .x": "'.x' is not a module name; write it as in package.module",
    "-m train.py": "train.py is a file, not a module; drop -m (in a job file: use script, not module)",
    "run -m a..b": "'a..b' is not a module name; write it as in package.module",
    "train.py -m": "train.py is a file, not a module; drop -m (in a job file: use script, not module)",
    "train.py --world-size -1": "world size -1: must be at least 1",
    "train.py --world-size 1.5": "Invalid value for '--world-size': '1.5' is not a whole number",
    "train.py --world-size 1e3": "Invalid value for '--world-size': '1e3' is not a whole number",
    "train.py --world-size ''": "Invalid value for '--world-size': '' is not a whole number",
    "train.py --world-size 99999999999999999999": "Invalid value for '--world-size': '999999999999999999... (2 more characters)' is too large",
    "train.py --world-size 10000000": "10000000 ranks: too many; at most 1048576 can be simulated",
    "train.py --world-size ٣": "Invalid value for '--world-size': '٣' is not a whole number",
    "train.py --world-size 0x10": "Invalid value for '--world-size': '0x10' is not a whole number",
    "train.py --world-size 2 --nnodes 3": "2 ranks cannot be spread evenly over 3 nodes; change one of the numbers",
    "train.py --world-size 2 --nproc-per-node 4": "2 ranks do not fill nodes of 4 processes; change one of the numbers",
    "train.py --world-size 7 --nnodes 2": "7 ranks cannot be spread evenly over 2 nodes; change one of the numbers",
    "train.py --nnodes 0": "number of nodes 0: must be at least 1",
    "train.py --nnodes -1": "--nnodes '-1': neither a number nor a range; write 4 or 1:4",
    "train.py --nnodes 1:": "--nnodes '1:': neither a number nor a range; write 4 or 1:4",
    "train.py --nnodes :4": "--nnodes ':4': neither a number nor a range; write 4 or 1:4",
    "train.py --nnodes 0:4": "--nnodes '0:4': not a valid range; write the minimum first, at least 1, as in 1:4",
    "train.py --nnodes 99999999999999999999": "--nnodes '99999999999999999999': is too large: a number has at most 18 digits",
    "train.py --nproc-per-node 0": "number of processes per node 0: must be at least 1",
    "train.py --nproc-per-node x": "--nproc-per-node 'x': not a number; write a number (or auto, cpu, gpu, xpu, with --world-size or --mesh)",
    "train.py --nproc-per-node gpu": "the number of ranks is unknown; pass --world-size N, or --nnodes N --nproc-per-node N, or --mesh (in a job file: world_size)",
    "train.py --nproc-per-node 99999999999999999999": "--nproc-per-node '99999999999999999999': is too large: a number has at most 18 digits",
    "train.py --mesh ''": "mesh '' is neither sizes nor named sizes; write 2x4 or dp=2,tp=4",
    "train.py --mesh 2x": "mesh '2x' is neither sizes nor named sizes; write 2x4 or dp=2,tp=4",
    "train.py --mesh 0x2": "mesh '0x2' has an axis of size 0; every axis needs at least 1 rank",
    "train.py --mesh 2x2x2x2": "mesh '2x2x2x2' has 4 axes, but only up to 3 have default names; name them, as in pp=2,dp=2,cp=2,tp=2",
    "train.py --mesh dp": "mesh 'dp' is neither sizes nor named sizes; write 2x4 or dp=2,tp=4",
    "train.py --mesh dp=": "mesh 'dp=': axis 'dp' has no size; give every axis a name and a size, as in dp=2,tp=4",
    "train.py --mesh dp=x": "mesh 'dp=x': axis 'dp' has size 'x', which is not a whole number; give every axis a name and a size, as in dp=2,tp=4",
    "train.py --mesh dp=2,dp=2": "mesh 'dp=2,dp=2': axis 'dp' is given 2 times; give every axis a name of its own",
    "train.py --mesh d-p=2": "mesh 'd-p=2': axis name 'd-p' is not an identifier; use letters, digits and _, as in dp_shard=4",
    "train.py --mesh =2": "mesh '=2': axis name '' is not an identifier; use letters, digits and _, as in dp_shard=4",
    "train.py --mesh 99999999999999999999x2": "mesh '99999999999999999999x2': 99999999999999999999 is too large: a number has at most 18 digits",
    "train.py --mesh dp=99999999999999999999": "mesh 'dp=99999999999999999999': axis 'dp' has size '99999999999999999999', which is too large: a number has at most 18 digits; give every axis a name and a size, as in dp=2,tp=4",
    "train.py --mesh 1048576x2": "2097152 ranks: too many; at most 1048576 can be simulated",
    "train.py --mesh 2x2 --nnodes 3": "4 ranks cannot be spread evenly over 3 nodes; change one of the numbers",
    "train.py --rank -1 --world-size 2": "rank -1 does not exist: a world size of 2 has ranks 0 to 1",
    "train.py --rank x --world-size 2": "Invalid value for '--rank': 'x' is not a whole number",
    "train.py --rank 99999999999999999999 --world-size 2": "Invalid value for '--rank': '999999999999999999... (2 more characters)' is too large",
    "train.py --rank 3": "the number of ranks is unknown; pass --world-size N, or --nnodes N --nproc-per-node N, or --mesh (in a job file: world_size)",
    "train.py --ranks all": "the number of ranks is unknown; pass --world-size N, or --nnodes N --nproc-per-node N, or --mesh (in a job file: world_size)",
    "train.py --world-size 8 --ranks ''": "ranks '': '' is neither a number nor a range; write all, auto, or numbers and ranges as in 0,4-7",
    "train.py --world-size 8 --ranks 3-1": "ranks '3-1': the range 3-1 is empty; write all, auto, or numbers and ranges as in 0,4-7",
    "train.py --world-size 8 --ranks 0-999999999999": "rank 999999999999 does not exist: a world size of 8 has ranks 0 to 7",
    "train.py --world-size 8 --ranks 99999999999999999999": "ranks '99999999999999999999': 99999999999999999999 is too large: a number has at most 18 digits",
    "train.py --world-size 8 --ranks 1,,2": "ranks '1,,2': '' is neither a number nor a range; write all, auto, or numbers and ranges as in 0,4-7",
    "train.py --world-size 8 --ranks 1-": "ranks '1-': '1-' is neither a number nor a range; write all, auto, or numbers and ranges as in 0,4-7",
    "train.py --world-size 8 --ranks ALL": "ranks 'ALL': 'ALL' is neither a number nor a range; write all, auto, or numbers and ranges as in 0,4-7",
    "train.py --world-size 8 --ranks -1": "ranks '-1': '-1' is neither a number nor a range; write all, auto, or numbers and ranges as in 0,4-7",
    "train.py --world-size 8 --ranks 0,8": "rank 8 does not exist: a world size of 8 has ranks 0 to 7",
    "train.py --steps 0": "steps 0: must be at least 1, or all",
    "train.py --steps -2": "steps '-2': must be a whole number of at least 1, or all",
    "train.py --steps many": "steps 'many': must be a whole number of at least 1, or all",
    "train.py --steps 99999999999999999999": "steps '99999999999999999999': is too large: a number has at most 18 digits",
    "train.py --jobs x": "Invalid value for '-j' / '--jobs': 'x' is not a whole number",
    "train.py --jobs -1": "--jobs -1: must be at least 1",
    "train.py --timeout 0": "timeout 0 s: must be a finite number above 0",
    "train.py --timeout -1": "timeout -1 s: must be a finite number above 0",
    "train.py --timeout nan": "timeout nan s: must be a finite number above 0",
    "train.py --timeout inf": "timeout inf s: must be a finite number above 0",
    "train.py --timeout x": "Invalid value for '--timeout': 'x' is not a number of seconds",
    "train.py --hardware ''": "unknown hardware ''; known: {accelerators}",
    "train.py --hardware h100": "unknown hardware 'h100' (did you mean 'h100-80gb' or 'h100-pcie' or 'h100-96gb'?); known: {accelerators}",
    "train.py --hardware h100-80gb,": "hardware 'h100-80gb,': '' is not KEY=VALUE; give a name (h100-80gb), with figures of your own (h100-80gb,memory=94GiB), or {{base: h100-80gb, memory: 94GiB}}",
    "train.py --hardware h100-80gb,memory": "hardware 'h100-80gb,memory': 'memory' is not KEY=VALUE; give a name (h100-80gb), with figures of your own (h100-80gb,memory=94GiB), or {{base: h100-80gb, memory: 94GiB}}",
    "train.py --hardware h100-80gb,memory=": "memory: '' is not an amount of memory: give a number and a unit (KiB, MiB, GiB, TiB, MB, GB, TB), as in 94GiB",
    "train.py --hardware h100-80gb,memory=x": "memory: 'x' is not an amount of memory: give a number and a unit (KiB, MiB, GiB, TiB, MB, GB, TB), as in 94GiB",
    "train.py --hardware h100-80gb,memory=-1GiB": "memory: '-1GiB' is not an amount of memory: give a number and a unit (KiB, MiB, GiB, TiB, MB, GB, TB), as in 94GiB",
    "train.py --hardware h100-80gb,size=3": "unknown figure 'size'; known: {figures}",
    "train.py --hardware memory=3GiB": "unknown hardware 'memory=3GiB'; known: {accelerators}",
    "train.py --error-on-collective=all_reduce,": "unknown operation ''; known: {operations}",
    "train.py --format ''": "unknown format ''; known: {formats}",
    "train.py --format JSON": "unknown format 'JSON'; known: {formats}",
    "train.py -o x.html": "output x.html: no format has the ending .html; known: {endings}; or choose one with --format",
    "train.py -o train.py": "output train.py: is the script or the job file, which the report would replace; pass another file",
    "train.py -o ./sub/../train.py --format json": "output sub/../train.py: is the script or the job file, which the report would replace; pass another file",
    "job.yaml -o job.yaml": "output job.yaml: is the script or the job file, which the report would replace; pass another file",
    "job.yaml -o train.py": "output train.py: no format has the ending .py; known: {endings}; or choose one with --format",
    "train.py -o link.json": "output link.json: is the script or the job file, which the report would replace; pass another file",
    "train.py -o linked.json": "output linked.json: is a symbolic link, which the report would replace; pass the file it leads to: {place}/sub/notes.txt",
    "train.py -o dangling.json": "output dangling.json: is a symbolic link, which the report would replace; pass the file it leads to: {place}/nothing",
    "train.py -o sub": "output sub: is a directory; pass a file in it, as in sub/report.json",
    "train.py -o train.py/x.json": "output train.py/x.json: no such directory: train.py; create it first",
    "train.py -o junit=train.py": "output train.py: is the script or the job file, which the report would replace; pass another file",
    "job.yaml --output junit=x.xml --output csv=job.yaml": "output job.yaml: is the script or the job file, which the report would replace; pass another file",
    "job.yaml --output junit=x.xml --output csv=train.py": "output train.py: is the script or the job file, which the report would replace; pass another file",
    "train.py --output junit=linked.json": "output linked.json: is a symbolic link, which the report would replace; pass the file it leads to: {place}/sub/notes.txt",
    "train.py --output junit=sub": "output sub: is a directory; pass a file in it, as in sub/report.json",
    "train.py --output junit=x.xml --output sarif=nodir/x": "output nodir/x: no such directory: nodir; create it first",
    "train.py --output junit=x --output sarif=./x": "output x: is named twice; each format needs a file of its own",
    "train.py --output junit=x -o y.html": "output y.html: no format has the ending .html; known: {endings}; or choose one with --format",
    "train.py --output junti=x.xml": "output junti=x.xml: unknown format 'junti' (did you mean 'junit'?); known: {formats}; if junti=x.xml is the name of a file, pass ./junti=x.xml",
    "train.py --output junit=": "output junit=: names no file; pass junit=junit.xml, or junit alone for stdout",
    "train.py --output junit=x --format xml": "unknown format 'xml'; known: {formats}",
    "train.py -o nodir/x.json": "output nodir/x.json: no such directory: nodir; create it first",
    "train.py --run-dir kept": "run directory kept: holds an earlier run; continue that with --resume, or pass a new directory (or remove this one) to start over",
    "train.py --run-dir train.py": "run directory train.py: File exists; pass a writable directory to --run-dir",
    "train.py --run-dir sub": "run directory sub: contains files that are not from a fakerun run; pass a new or empty directory to --run-dir",
    "train.py --run-dir train.py/x": "run directory train.py/x: Not a directory; pass a writable directory to --run-dir",
    "train.py --run-dir locked": "run directory locked: another run uses it; wait for its end, or pass another directory",
    "train.py --resume": "--resume: no run to continue; pass its directory with --run-dir",
    "train.py --resume --run-dir nope": "nope: not a fakerun run directory; pass the directory you gave to --run-dir",
    "train.py --resume --run-dir sub": "sub: not a fakerun run directory; pass the directory you gave to --run-dir",
    "train.py --resume --run-dir kept --steps 9": "run directory kept: steps was 2 in that run and is 9 now; pass a new directory without --resume to start over",
    "train.py --resume --run-dir locked": "run directory locked: another run uses it; wait for its end, or pass another directory",
    "other.py --resume --run-dir kept": "run directory kept: script was train.py in that run and is other.py now; pass a new directory without --resume to start over",
    "train.py --max-memory x": "--max-memory: 'x' is not an amount of memory: give a number and a unit (KiB, MiB, GiB, TiB, MB, GB, TB), as in 94GiB, or a share of the accelerator's memory, as in 90%",
    "train.py --max-memory 0": "--max-memory: '0' is not an amount of memory: give a number and a unit (KiB, MiB, GiB, TiB, MB, GB, TB), as in 94GiB, or a share of the accelerator's memory, as in 90%",
    "train.py --ignore nope": "--ignore nope: no finding has this code; docs/findings.md lists all",
    "train.py --launcher nope": "unknown launcher 'nope'; known: torchrun, slurm, mpi",
    "train.py --sed 3": "no such option: --sed (did you mean '--seed'?); options for the script go after --, as in: fakerun train.py -- --sed",
    "train.py --no-python": "--no-python is not supported: only Python programs can be simulated",
    "-q": "no script given: run fakerun SCRIPT --world-size N, or see fakerun --help",
    "--frob": "no such option: --frob; options for the script go after the script",
    "train.py -z": "no such option: -z; options for the script go after --, as in: fakerun train.py -- -z",
    "train.py --world-size 2 --steps": "Option '--steps' requires an argument.",
    "-o x.json": "no script given: run fakerun SCRIPT --world-size N, or see fakerun --help",
}

VARIABLES = {
    "FAKERUN_STEPS=bad": "steps 'bad': must be a whole number of at least 1, or all (set in the environment: FAKERUN_STEPS=bad)",
    "FAKERUN_STEPS=0": "steps 0: must be at least 1, or all (set in the environment: FAKERUN_STEPS=0)",
    "FAKERUN_WORLD_SIZE=x": "variable FAKERUN_WORLD_SIZE=x: 'x' is not a whole number",
    "FAKERUN_WORLD_SIZE=-1": "world size -1: must be at least 1 (set in the environment: FAKERUN_WORLD_SIZE=-1)",
    "FAKERUN_RANKS=x": "ranks 'x': 'x' is neither a number nor a range; write all, auto, or numbers and ranges as in 0,4-7 (set in the environment: FAKERUN_RANKS=x)",
    "FAKERUN_RANK=9": "the number of ranks is unknown; pass --world-size N, or --nnodes N --nproc-per-node N, or --mesh (in a job file: world_size) (set in the environment: FAKERUN_RANK=9)",
    "FAKERUN_MESH=2by4": "mesh '2by4' is neither sizes nor named sizes; write 2x4 or dp=2,tp=4 (set in the environment: FAKERUN_MESH=2by4)",
    "FAKERUN_HARDWARE=h1": "unknown hardware 'h1'; known: {accelerators} (set in the environment: FAKERUN_HARDWARE=h1)",
    "FAKERUN_TIMEOUT=soon": "variable FAKERUN_TIMEOUT=soon: 'soon' is not a number of seconds",
    "FAKERUN_JOBS=x": "variable FAKERUN_JOBS=x: 'x' is not a whole number",
    "PET_NNODES=some": "--nnodes 'some': neither a number nor a range; write 4 or 1:4 (set in the environment: PET_NNODES=some)",
    "PET_NPROC_PER_NODE=x": "--nproc-per-node 'x': not a number; write a number (or auto, cpu, gpu, xpu, with --world-size or --mesh) (set in the environment: PET_NPROC_PER_NODE=x)",
    "FAKERUN_ROUTING=x": "unknown routing 'x'; known: balanced, worst (set in the environment: FAKERUN_ROUTING=x)",
    "FAKERUN_TRACE=maybe": "variable FAKERUN_TRACE=maybe: is neither true nor false",
    "FAKERUN_RESUME=x": "variable FAKERUN_RESUME=x: is neither true nor false",
    "FAKERUN_FORMAT=xml": "unknown format 'xml'; known: {formats} (set in the environment: FAKERUN_FORMAT=xml)",
    "FAKERUN_OUTPUT=x.html": "output x.html: no format has the ending .html; known: {endings}; or choose one with --format (set in the environment: FAKERUN_OUTPUT=x.html)",
    "FAKERUN_RUN_DIR=train.py": "run directory train.py: File exists; pass a writable directory to --run-dir (set in the environment: FAKERUN_RUN_DIR=train.py)",
    "FAKERUN_JOBS=0": "--jobs 0: must be at least 1 (set in the environment: FAKERUN_JOBS=0)",
    "FAKERUN_TIMEOUT=-1": "timeout -1 s: must be a finite number above 0 (set in the environment: FAKERUN_TIMEOUT=-1)",
}


@pytest.fixture
def no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A case that is not refused fails here, before it starts a rank."""

    def run(*_: object, **__: object) -> RunRecord:
        raise AssertionError("was run")

    monkeypatch.setattr("fakerun.launch.run_job", run)


@pytest.mark.usefixtures("no_run")
@pytest.mark.parametrize(("line", "message"), COMMAND_LINES.items())
def test_a_command_line(place: Path, capsys: pytest.CaptureFixture[str], line: str, message: str) -> None:
    check(shlex.split(line), message.format(place=place, **KNOWN), capsys)


@pytest.mark.usefixtures("no_run")
@pytest.mark.parametrize(("setting", "message"), VARIABLES.items())
def test_a_variable(place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, setting: str, message: str) -> None:
    name, _, value = setting.partition("=")
    monkeypatch.setenv(name, value)
    check(["train.py"], message.format(place=place, **KNOWN), capsys)


@dataclass(frozen=True, kw_only=True)
class Damage:
    """A file of a run, what is done to it, and what `fakerun report` says then. In the message `{file}` is the path of the file."""

    file: str
    data: Callable[[bytes], bytes]
    message: str


def document(**changes: object) -> Callable[[bytes], bytes]:
    """The JSON document, compressed or not, with other values."""

    def change(data: bytes) -> bytes:
        compressed = data.startswith(b"\x1f\x8b")
        text = json.dumps(json.loads(gzip.decompress(data) if compressed else data) | changes).encode()
        return gzip.compress(text) if compressed else text

    return change


def of_zeros(_: bytes) -> bytes:
    """Much in little, as in an archive that is made to fill the memory of who unpacks it."""
    return gzip.compress(b"\0" * 10_000_000, compresslevel=1)


RECORD, RUN, JOB_FILE = "rank-00000/record.json.gz", "run.json", "job.json"
SCHEDULE, PROGRAM, CREATIONS = "shared/schedule-*", "shared/program-*", "shared/groups-*"
AGAIN = "run the job again"
CALL = {
    "op": "all_reduce",
    "dtype": "float32",
    "input_sizes": [[4]],
    "output_sizes": [[4]],
    "nbytes": 16,
    "reduce_op": "sum",
    "tag": None,
    "input_splits": None,
    "output_splits": None,
    "is_async": False,
    "coalesced": None,
    "seq": 0,
    "step": 0,
    "phase": "other",
    "device": 0,
    "waited": True,
    "waited_before": None,
    "module": None,
    "call_site": None,
    "slot": 0,
    "root_group_rank": None,
    "peer_offset": None,
}
RUN_DIRECTORIES = {
    "no gzip": Damage(file=RECORD, data=lambda _: b"hello", message="{file}: not a fakerun record (Not a gzipped file (b'he')); " + AGAIN),
    "cut off": Damage(
        file=RECORD,
        data=lambda data: data[:-9],
        message="{file}: not a fakerun record (Compressed file ended before the end-of-stream marker was reached); " + AGAIN,
    ),
    "empty": Damage(file=RECORD, data=lambda _: b"", message="{file}: not a fakerun record; " + AGAIN),
    "zeros": Damage(file=RECORD, data=of_zeros, message="{file}: not a fakerun record; " + AGAIN),
    "half a document": Damage(
        file=RECORD,
        data=lambda data: gzip.compress(gzip.decompress(data)[:-9]),
        message="{file}: not a fakerun record; run the job again with this fakerun",
    ),
    "nested without end": Damage(
        file=RECORD,
        data=lambda _: gzip.compress(b"[" * 200_000),
        message="{file}: not a fakerun record; run the job again with this fakerun",
    ),
    "another version": Damage(
        file=RECORD,
        data=document(schema_version=99),
        message="{file}: schema version 99, but this fakerun reads version 4; run the job again with this fakerun",
    ),
    "a number that is text": Damage(
        file=RECORD,
        data=document(steps="many"),
        message="{file}: the record is damaged: steps is not a whole number; run the job again with this fakerun",
    ),
    "another rank's": Damage(file=RECORD, data=document(rank=3), message="{file}: is the record of rank 3; " + AGAIN),
    "a path out of the directory": Damage(
        file=RECORD,
        data=document(schedule="../../../etc/passwd"),
        message="a record refers to '../../../etc/passwd', which is no part of a run; " + AGAIN,
    ),
    "a part that is not there": Damage(
        file=RECORD,
        data=document(program="program-" + "0" * 32),
        message="{shared}/program-" + "0" * 32 + ".json.gz: No such file or directory, which a record refers to; " + AGAIN,
    ),
    "a group of too many ranks": Damage(
        file=RECORD,
        data=document(groups=[{"label": None, "name": "0", "ranks": [[0, 10**15, 1]]}]),
        message="{file}: the record is damaged: a group has more ranks than there can be; " + AGAIN,
    ),
    "groups that the schedule does not have": Damage(
        file=RECORD,
        data=document(groups=[{"label": None, "name": "0", "ranks": [[0, 2, 1]]}]),
        message="{file}: the record is damaged: its groups are not those of its schedule; " + AGAIN,
    ),
    "a call of no group": Damage(
        file=SCHEDULE,
        data=document(calls=[CALL]),
        message="{part}: the record is damaged: call 0 is of a group that is not there; " + AGAIN,
    ),
    "a root that the group does not have": Damage(
        file=SCHEDULE,
        data=document(slots=[{"label": None, "size": 2}], calls=[CALL | {"root_group_rank": 7}]),
        message="{part}: the record is damaged: call 0 is with a rank that its group does not have; " + AGAIN,
    ),
    "a block that is not there": Damage(
        file=PROGRAM,
        data=document(instructions=[{"opcode": "free", "operand": 5}], order=[0]),
        message="{part}: the record is damaged: a block is freed that is not allocated; " + AGAIN,
    ),
    "an instruction that is not there": Damage(
        file=PROGRAM,
        data=document(order=[5]),
        message="{part}: the record is damaged: an instruction is issued that is not there; " + AGAIN,
    ),
    "a step without its events": Damage(
        file=PROGRAM,
        data=document(step_ends=[7]),
        message="{part}: the record is damaged: a step ends at an instruction that is not there; " + AGAIN,
    ),
    "too many groups": Damage(
        file=CREATIONS,
        data=lambda _: gzip.compress(json.dumps([{"ranks": [[0, 10**15, 1]], "before": 0}]).encode()),
        message="{part}: the record is damaged: a group has more ranks than there can be; " + AGAIN,
    ),
    "no run": Damage(file=RUN, data=lambda _: b"", message="{file}: not a fakerun record; run the job again with this fakerun"),
    "a run of another version": Damage(
        file=RUN,
        data=document(schema_version=1),
        message="{file}: schema version 1, but this fakerun reads version 4; run the job again with this fakerun",
    ),
    "a job that is no JSON": Damage(
        file=JOB_FILE, data=lambda _: b"{", message="kept: not a fakerun run directory; pass the directory you gave to --run-dir"
    ),
    "a job nested without end": Damage(
        file=JOB_FILE, data=lambda _: b"[" * 200_000, message="kept: not a fakerun run directory; pass the directory you gave to --run-dir"
    ),
    "a job of another version": Damage(
        file=JOB_FILE,
        data=document(fakerun_job=1),
        message="{file}: schema version 1, but this fakerun reads version 2; " + AGAIN,
    ),
    "a job without its job": Damage(
        file=JOB_FILE, data=document(job={}), message="{file}: the job file is damaged: job.hardware is missing; " + AGAIN
    ),
}


@pytest.mark.parametrize("damage", RUN_DIRECTORIES.values(), ids=RUN_DIRECTORIES.keys())
def test_a_damaged_run_directory(place: Path, capsys: pytest.CaptureFixture[str], damage: Damage) -> None:
    (file,) = (place / "kept").glob(damage.file)
    file.write_bytes(damage.data(file.read_bytes()))
    part = file.name.removesuffix(".json.gz")
    check(["report", "kept"], damage.message.format(file=file, part=part, shared=place / "kept" / "shared"), capsys)


def test_a_record_that_is_a_pipe_is_not_waited_for(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = place / "kept" / RECORD
    file.unlink()
    os.mkfifo(file)
    check(["report", "kept"], f"{file}: is a device or a pipe, not a file; run the job again", capsys)


def test_there_are_many() -> None:
    assert len(COMMAND_LINES) + len(VARIABLES) + len(RUN_DIRECTORIES) + len(STREAMS) >= 150


# What cannot be written

STREAMS = {
    "a full device": ("train.py -o /dev/full", "output /dev/full: No space left on device; pass a file on a disk with room to -o"),
    "a full stdout": (
        "train.py > /dev/full",
        "standard output: No space left on device; the report cannot be written; pass a file on a disk with room to -o",
    ),
    "a closed stdout": ("train.py >&-", "standard output is closed: the report cannot be written; pass a file to -o"),
}
REPORT = f"{sys.executable} -m fakerun report kept"


@pytest.mark.parametrize(("line", "message"), STREAMS.values(), ids=STREAMS.keys())
def test_a_report_that_cannot_be_written(place: Path, line: str, message: str) -> None:
    """By the shell: what is closed there was never open here. `report` writes as `run` does, and runs nothing."""
    result = by_shell(REPORT + line.removeprefix("train.py"), place)
    assert (result.returncode, result.stderr, result.stdout) == (2, f"fakerun: error: {message}\n", "")


def test_the_run_is_kept_whose_report_cannot_be_written(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(job: JobSpec, directory: RunDirectory, **_: object) -> RunRecord:
        keep_run(directory, job)
        return RunRecord(fakerun_version=fakerun.__version__, torch_version=None, ranks=(RankRecord(rank=0),))

    monkeypatch.setattr("fakerun.launch.run_job", run)
    assert main(["train.py", "-q", "-o", "/dev/full"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    (kept,) = place.glob("fakerun-*")
    assert line.endswith(f"; the run is kept: fakerun report {kept}")
    assert main(["report", str(kept)]) == 0


@pytest.mark.parametrize("options", [[], ["--run-dir", "new"]], ids=["temporary", "named"])
@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "No space left on device; free some space, or pass another directory to --run-dir, and remove this one"),
        (errno.EFBIG, "File too large; raise the limit (ulimit -f), and remove this one"),
    ],
)
def test_a_run_directory_that_cannot_be_written(
    place: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    number: int,
    message: str,
) -> None:
    def run(job: JobSpec, directory: RunDirectory, **_: object) -> RunRecord:
        keep_run(directory, job)
        raise OSError(number, os.strerror(number), str(directory.records.run))

    monkeypatch.setattr("fakerun.launch.run_job", run)
    assert main(["train.py", "-q", *options]) == 2
    captured = capsys.readouterr()
    (kept,) = place.glob("fakerun-*") if not options else [place / "new"]
    assert captured.err == f"fakerun: error: run directory {kept}: {message}\n"
    assert captured.out == ""
    assert (kept / "run.json").is_file()


def test_several_outputs_are_written_at_once(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outputs = ["--output", "junit=r.xml", "-o", "r.sarif", "--output", "csv", "--output", "jsonl"]
    assert main(["report", "kept", *outputs]) == 0
    assert "<testsuites" in Path("r.xml").read_text()
    assert json.loads(Path("r.sarif").read_text())["version"] == "2.1.0"
    table, _, lines = capsys.readouterr().out.partition('{"kind"')
    assert table.startswith("job,row,ranks,")
    assert "train.py" in lines


def test_where_one_output_cannot_be_written_the_others_are(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "kept", "--output", "junit=/dev/full", "--output", "csv=r.csv", "--output", "jsonl=/dev/full"]) == 2
    full = "fakerun: error: output /dev/full: No space left on device; pass a file on a disk with room to -o"
    assert capsys.readouterr().err.splitlines() == [full, full]
    assert Path("r.csv").read_text().startswith("job,row,ranks,")


def test_outputs_in_a_variable_are_separated_by_spaces(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(job: JobSpec, directory: RunDirectory, **_: object) -> RunRecord:
        keep_run(directory, job)
        return RunRecord(fakerun_version=fakerun.__version__, torch_version=None, ranks=(RankRecord(rank=0),))

    monkeypatch.setattr("fakerun.launch.run_job", run)
    monkeypatch.setenv("FAKERUN_OUTPUT", "junit=r.xml github sarif='a report.sarif'")
    assert main(["train.py", "-q"]) == 0
    assert Path("r.xml").exists()
    assert Path("a report.sarif").exists()
    assert capsys.readouterr().out == ""
    monkeypatch.setenv("FAKERUN_OUTPUT", "github junit='my report.xml")
    assert main(["train.py", "-q"]) == 2
    assert capsys.readouterr().err == "fakerun: error: variable FAKERUN_OUTPUT=github junit='my report.xml: no closing quotation\n"


def test_nothing_is_annotated_unless_it_is_asked_for(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(place / "summary.md"))
    assert main(["report", "kept"]) == 0
    assert "::" not in capsys.readouterr().out
    assert not (place / "summary.md").exists()


@pytest.mark.parametrize(("quiet", "is_noted"), [([], True), (["-q"], False), (["--quiet"], False)])
def test_a_quiet_report_has_no_notes_beside_it(place: Path, capsys: pytest.CaptureFixture[str], quiet: list[str], is_noted: bool) -> None:
    with open_run_directory(place / "cut") as directory:
        keep_run(directory, replace(JOB, nproc_per_node=2, ranks=(0, 1)))
    assert main(["report", "cut", *quiet]) == 0
    captured = capsys.readouterr()
    assert ("no record of rank 1" in captured.err) is is_noted
    assert captured.out.startswith("OK")


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"])
def test_messages_that_nobody_can_read_go_nowhere(place: Path, redirection: str) -> None:
    """Least of all to stdout."""
    result = by_shell(f"{REPORT} {redirection}", place)
    assert (result.returncode, result.stdout.partition("\n")[0].startswith("fakerun: ")) == (0, False)
    refused = by_shell(f"{sys.executable} -m fakerun nope.py {redirection}", place)
    assert (refused.returncode, refused.stdout, refused.stderr) == (2, "", "")


def by_shell(line: str, place: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(line, shell=True, cwd=place, capture_output=True, text=True, check=False, timeout=60)


# How the command ends otherwise


def test_an_unknown_variable_is_warned_of(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FAKERUN_WORLD_SIEZ", "3")
    assert main(["train.py", "--jobs", "0"]) == 2
    expected = "fakerun: warning: variable FAKERUN_WORLD_SIEZ has no effect: there is no option --world-siez (did you mean '--world-size'?)"
    assert capsys.readouterr().err.splitlines()[0] == expected


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_before_the_run_leaves_nothing(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    def run(*_: object, **__: object) -> RunRecord:
        os.kill(os.getpid(), number)
        raise AssertionError("not interrupted")

    monkeypatch.setattr("fakerun.launch.run_job", run)
    before = sorted(place.rglob("*"))
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # the process that runs the tests may have another
    try:
        assert main(["train.py", "-q"]) == 130
    finally:
        signal.signal(signal.SIGINT, handler)
    assert capsys.readouterr().err == "fakerun: error: interrupted\n"
    assert sorted(place.rglob("*")) == before
