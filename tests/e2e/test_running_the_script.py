"""A script under fakerun runs as under `python -u script.py` in torchrun's environment, and every kind of ending is distinguished.

The simulation is the fake one of `fake_simulation/`: this is about the runner. Python itself is the oracle wherever there is one. The ranks
of all tests are forked from one server, except where the end of a server is what is tested.
"""

import json
import os
import re
import select
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from fakerun.errors import HostMemoryError
from fakerun.hardware.accelerator import Accelerator, Vendor
from fakerun.job.mesh import MeshSpec
from fakerun.job.spec import JobSpec
from fakerun.launch import JobRun, RunDirectory, open_run_directory, pool, run_job, run_jobs
from fakerun.launch.environment import worker_environment
from fakerun.launch.failures import RankEnd, finished_record
from fakerun.launch.process import RankProcess
from fakerun.launch.server import RankServer, RankTask
from fakerun.mesh import Mesh
from fakerun.records.run import FailureKind, ProcessFailure, RankRecord, RunRecord
from fakerun.report import build_report
from tests.unit.records_by_hand import site

FAKE_SIMULATION = str(Path(__file__).parent / "fake_simulation")
HARDWARE = Accelerator(
    name="h100-80gb", vendor=Vendor.NVIDIA, device_name="NVIDIA H100", usable_bytes=80 << 30, compute_capability=(9, 0), multiprocessors=132
)
JOB = JobSpec(
    script=Path("train.py"),
    env={"PYTHONPATH": FAKE_SIMULATION, "PYTHONDONTWRITEBYTECODE": "1"},
    nproc_per_node=4,
    mesh=MeshSpec(axes=("dp", "tp"), sizes=(2, 2), named=True),
    hardware=HARDWARE,
    ranks=(3,),
)
SERVER = RankServer()
LONG_S = 60.0
"""For waits that end at once unless something is broken."""


@dataclass(frozen=True)
class Run:
    """What one rank left behind."""

    record: RankRecord
    directory: RunDirectory

    @property
    def stdout(self) -> str:
        return self.directory.rank(self.record.rank).stdout.read_text()

    @property
    def stderr(self) -> str:
        return self.directory.rank(self.record.rank).stderr.read_text()

    @property
    def failure(self) -> ProcessFailure:
        assert self.record.failure is not None
        return self.record.failure


@pytest.fixture(scope="module", autouse=True)
def server_until_the_last_test() -> Iterator[None]:
    with SERVER:
        yield


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of the job, apart from the run directory."""
    directory = tmp_path / "work"
    directory.mkdir()
    monkeypatch.chdir(directory)
    return directory


def run(job: JobSpec, *, show_output: bool = False) -> Run:
    directory = open_run_directory(Path.cwd().parent / "run")
    (record,) = run_ranks(job, directory, show_output=show_output).ranks
    return Run(record, directory)


def run_ranks(job: JobSpec, directory: RunDirectory, *, show_output: bool = False, jobs: int | None = None) -> RunRecord:
    (record,) = run_jobs([JobRun(job, directory)], SERVER, show_output=show_output, jobs=jobs)
    return record


def run_script(source: str, job: JobSpec = JOB, **env: str) -> Run:
    Path("train.py").write_text(textwrap.dedent(source))
    return run(replace(job, env={**job.env, **env}))


def run_natively(job: JobSpec, error_file: Path) -> "subprocess.CompletedProcess[str]":
    """What torchrun's agent would start for rank 3."""
    program = ["-m", job.module] if job.module is not None else [str(job.script)]
    environment = worker_environment(job, 3, inherited=os.environ, error_file=error_file)
    command = [sys.executable, "-u", *program, *job.args]
    return subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


# What the script sees

LOOK_AROUND = """
import json, os, sys, threading, __main__
seen = {
    "argv": sys.argv,
    "orig_argv": sys.orig_argv,
    "cwd": os.getcwd(),
    "path": sys.path,
    "env": dict(os.environ),
    "stdin": os.readlink("/proc/self/fd/0"),
    "isatty": [sys.stdout.isatty(), sys.stderr.isatty()],
    "threads": [str(thread.name) for thread in threading.enumerate()],
    "main": sorted(vars(__main__)),
    "in_sys_modules": vars(__main__) is globals(),
    "values": {name: repr(globals()[name]) for name in ("__name__", "__doc__", "__file__", "__package__", "__cached__", "__annotations__")},
    "spec": [__spec__.name, __spec__.origin, __spec__.parent] if __spec__ is not None else None,
    "loader": [type(__loader__).__name__, __loader__.name, __loader__.path],
    "builtins": repr(__builtins__),
    "frames": sys._getframe().f_code.co_filename,
    "filters": __import__("warnings").filters[0][0],
    "hooks": [sys.excepthook is sys.__excepthook__, threading.excepthook is threading.__excepthook__],
    "signals": {n: str(__import__("signal").getsignal(n)) for n in (1, 2, 10, 12, 14, 15)},
}
print(json.dumps(seen))
"""


def _files(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(LOOK_AROUND)


WAYS_TO_NAME_IT: Mapping[str, Mapping[str, Any]] = {
    "in the working directory": {"script": Path("train.py")},
    "in another directory": {"script": Path("deep/er/train.py")},
    "above": {"script": Path("../work/deep/../train.py")},
    "absolute": {"script": Path(os.devnull).parent},  # replaced below, where the directory is known
    "without a suffix": {"script": Path("launcher")},
    "through a link": {"script": Path("link.py")},
    "with arguments": {"script": Path("train.py"), "args": ("--lr", "1e-3", "-m", "--", "a b", "")},
    "module": {"module": "single", "args": ("-x",)},
    "module in a package": {"module": "package.part"},
    "package": {"module": "package"},
}


@pytest.mark.parametrize("program", WAYS_TO_NAME_IT.values(), ids=WAYS_TO_NAME_IT.keys())
def test_the_script_sees_what_it_sees_under_torchrun(place: Path, program: Mapping[str, Any]) -> None:
    _files("train.py", "deep/er/train.py", "launcher", "single.py", "package/part.py", "package/__main__.py")
    Path("package/__init__.py").write_text("")
    Path("link.py").symlink_to("deep/er/train.py")
    if program == WAYS_TO_NAME_IT["absolute"]:
        program = {"script": place / "train.py"}
    job = replace(JOB, **{"script": None, **program})
    ours = run(job)
    assert ours.record.failure is None, ours.failure.traceback
    native = run_natively(job, ours.directory.rank(3).error)
    assert json.loads(ours.stdout) == json.loads(native.stdout)


def test_the_arguments_name_the_local_rank() -> None:
    """With torchrun's own macro and its reading of the dollar sign."""
    from torch.distributed.elastic.utils.api import macros

    from fakerun.rank.script import Program

    args = ["--device=${local_rank}", "$local_rank", "$$", "$other", "${"]
    job = replace(JOB, nproc_per_node=2, nnodes=4, args=tuple(args))
    assert Program.of(job, 7).args == tuple(macros.substitute(args, "1"))


def test_a_directory_of_the_same_name_does_not_shadow_what_fakerun_imports(place: Path) -> None:
    """`python scripts/train.py` does not look in the working directory."""
    for name in ("json", "pydantic", "runpy", "fakerun"):
        Path(f"{name}.py").write_text("raise ImportError('the wrong one')")
    Path("scripts").mkdir()
    Path("scripts/train.py").write_text("import json; print(json.dumps([1]))")
    ours = run(replace(JOB, script=Path("scripts/train.py")))
    assert (ours.record.failure, ours.stdout) == (None, "[1]\n")


# How the script ends: Python's own output and status are what is expected

LIKE_PYTHON = {
    "normal end": "print('out'); import sys; print('err', file=sys.stderr)",
    "no newline": "import sys; sys.stdout.write('out')",
    "exception": "def f():\n    1 / 0\n\nf()",
    "cause": "try:\n    {}['a']\nexcept KeyError as error:\n    raise ValueError('b') from error",
    "context": "try:\n    {}['a']\nexcept KeyError:\n    raise ValueError('b')",
    "context suppressed": "try:\n    {}['a']\nexcept KeyError:\n    raise ValueError('b') from None",
    "group": "def f(x):\n    try:\n        int(x)\n    except ValueError as e:\n        return e\n"
    "raise ExceptionGroup('several', [f('a'), ExceptionGroup('inner', [f('b')])])",
    "notes": "e = ValueError('a')\ne.add_note('and more')\nraise e",
    "own class": "class Bad(Exception):\n    pass\n\nraise Bad('x')",
    "own class, unprintable": "class Bad(Exception):\n    def __str__(self):\n        raise ValueError\n\nraise Bad('x')",
    "recursion": "def f():\n    f()\n\nf()",
    "syntax error": "x = 1\nif x\n    pass",
    "indentation error": "def f():\nx = 1",
    "syntax error in an import": "import broken",
    "exception in an import": "import raising",
    "no such module": "import not_there",
    "exit 0": "import sys; sys.exit(0)",
    "exit None": "raise SystemExit",
    "exit 3": "import sys; sys.exit(3)",
    "exit -1": "import sys; sys.exit(-1)",
    "exit 256": "import sys; sys.exit(256)",
    "exit 257": "import sys; sys.exit(257)",
    "exit 2**70": "import sys; sys.exit(2**70)",
    "exit True": "import sys; sys.exit(True)",
    "exit with a message": "import sys; sys.exit('no data')",
    "exit with an object": "import sys; sys.exit([1, 2])",
    "argparse": "import argparse; argparse.ArgumentParser().parse_args(['--x'])",
    "interrupt of its own": "raise KeyboardInterrupt",
    "os._exit 0": "import os; print('out'); os._exit(0)",
    "os._exit 5": "import os; print('out'); os._exit(5)",
    "os._exit in a thread": "import os, threading; threading.Thread(target=os._exit, args=(6,)).start(); threading.Event().wait()",
    "own excepthook": "import sys\nsys.excepthook = lambda *a: print('hook', a[0].__name__, a[2].tb_lineno)\n1 / 0",
    "broken excepthook": "import sys\ndef hook(*a):\n    raise ValueError('hook')\nsys.excepthook = hook\n1 / 0",
    "exit handlers": "import atexit; atexit.register(print, 'one'); atexit.register(print, 'two'); print('end')",
    "exit handlers after an exception": "import atexit; atexit.register(print, 'one'); 1 / 0",
    "thread goes on": "import threading\ndone = threading.Event()\n"
    "threading.Thread(target=lambda: (done.wait(), print('thread'))).start()\nprint('main')\ndone.set()",
    "thread raises": "import threading\nt = threading.Thread(target=lambda: 1 / 0, name='t')\nt.start()\nt.join()",
    "executor left open": "from concurrent.futures import ThreadPoolExecutor\nprint(ThreadPoolExecutor().submit(abs, -1).result())",
    "fork that exits": "import os\nif os.fork() == 0:\n    os._exit(7)\nprint(os.waitstatus_to_exitcode(os.wait()[1]))",
    "fork that runs on": "import os, atexit\natexit.register(print, 'handler')\npid = os.fork()\n"
    "if pid:\n    print(os.wait()[1])\nprint(pid > 0)",
    "fork that raises": "import os\nif os.fork() == 0:\n    1 / 0\nprint(os.waitstatus_to_exitcode(os.wait()[1]))",
    "fork that calls sys.exit": "import os, sys\nif os.fork() == 0:\n    sys.exit(7)\nprint(os.waitstatus_to_exitcode(os.wait()[1]))",
    "warnings": "import warnings; warnings.warn('careful'); warnings.warn('old', DeprecationWarning)",
    "logging": "import logging; logging.warning('a'); logging.info('b')",
    "future statements": "from __future__ import annotations\nx: undefined = 1\nprint(__annotations__)",
    "annotations are values without one": "x: int = 1\nprint(__annotations__)",
    "stdin": "import sys; print(repr(sys.stdin.read()))",
    "pickle": "import pickle\nclass A:\n    pass\nprint(type(pickle.loads(pickle.dumps(A()))) is A)",
    "fork workers": "import multiprocessing as mp\ndef f(x):\n    return x * x\n"
    "if __name__ == '__main__':\n    with mp.get_context('fork').Pool(2) as pool:\n        print(pool.map(f, [1, 2, 3]))",
    "spawn workers": "import multiprocessing as mp\ndef f(x):\n    return x * x\n"
    "if __name__ == '__main__':\n    with mp.get_context('spawn').Pool(1) as pool:\n        print(pool.map(f, [1, 2, 3]))",
}


def _without_depth(traceback: str) -> str:
    """The runner's own frames count towards the recursion limit."""
    return re.sub(r"repeated \d+ more times", "repeated", traceback)


def _status_for_the_shell(native: int) -> int:
    return native if native >= 0 else 128 - native


@pytest.mark.parametrize("source", LIKE_PYTHON.values(), ids=LIKE_PYTHON.keys())
def test_output_and_status_are_pythons(place: Path, source: str) -> None:
    Path("broken.py").write_text("x = (\n")
    Path("raising.py").write_text("def f():\n    raise OSError('import')\n\nf()\n")
    Path("train.py").write_text(source + "\n")
    ours = run(JOB)
    native = run_natively(JOB, ours.directory.rank(3).error)
    assert (ours.stdout, _without_depth(ours.stderr)) == (native.stdout, _without_depth(native.stderr))
    failure = ours.record.failure
    assert (0 if failure is None else failure.exit_code) == _status_for_the_shell(native.returncode)
    assert failure is None or failure.kind in (FailureKind.EXCEPTION, FailureKind.EXIT)


@pytest.mark.parametrize(
    "source",
    [
        b"# coding: latin-1\nprint('\xe9')\n1 / 0  # \xe9\n",
        b"\xef\xbb\xbfprint('\xc3\xa9')\n",
        b"print('\xe9')\n",
        b"print(1)\r\n1 / 0\r\n",
        b"print(1)\x00\n",
    ],
    ids=["coding line", "byte order mark", "not utf-8", "windows line ends", "null byte"],
)
def test_the_source_is_read_as_python_reads_it(place: Path, source: bytes) -> None:
    Path("train.py").write_bytes(source)
    ours = run(JOB)
    native = run_natively(JOB, ours.directory.rank(3).error)
    assert ours.stdout == native.stdout
    # What is wrong, not the whole message: Python words it differently for a file and for bytes.
    assert [line.partition(":")[0] for line in ours.stderr.splitlines()[-1:]] == [
        line.partition(":")[0] for line in native.stderr.splitlines()[-1:]
    ]
    assert (ours.record.failure is None) == (native.returncode == 0)


# What the record says about it

TRACEBACK = 'Traceback (most recent call last):\n  File "{place}/train.py", line 3, in <module>\n    {line}\n'
FAILURES = {
    "exception": (
        "\n\nraise ValueError('bad shape')",
        ProcessFailure(
            kind=FailureKind.EXCEPTION,
            exception="ValueError",
            message="bad shape",
            traceback=TRACEBACK.format(place="{place}", line="raise ValueError('bad shape')") + "ValueError: bad shape\n",
            exit_code=1,
            call_site=site("train.py:3"),
        ),
    ),
    "exception of a library": (
        "import json\n\njson.loads('{{')",
        ProcessFailure(
            kind=FailureKind.EXCEPTION,
            exception="json.decoder.JSONDecodeError",
            message="Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
            traceback="...",
            exit_code=1,
            call_site=site("train.py:3"),
        ),
    ),
    "exception in a module of the user's": (
        "import sub.part\n\nsub.part.f()",
        ProcessFailure(
            kind=FailureKind.EXCEPTION,
            exception="ZeroDivisionError",
            message="division by zero",
            traceback="...",
            call_site=site("sub/part.py:2"),
        ),
    ),
    "exception without a message": (
        "\n\nassert False",
        ProcessFailure(
            kind=FailureKind.EXCEPTION, exception="AssertionError", message="AssertionError", traceback="...", call_site=site("train.py:3")
        ),
    ),
    "message that is no text": (
        "\n\nraise OSError('\\udcff')",
        ProcessFailure(kind=FailureKind.EXCEPTION, exception="OSError", message="\\udcff", traceback="...", call_site=site("train.py:3")),
    ),
    "syntax error": (
        "x = 1\n\nif x",
        ProcessFailure(
            kind=FailureKind.EXCEPTION,
            exception="SyntaxError",
            message="expected ':' (train.py, line 3)",
            traceback="  File \"{place}/train.py\", line 3\n    if x\n        ^\nSyntaxError: expected ':'\n",
            call_site=site("train.py:3"),
        ),
    ),
    "interrupt of its own": (
        "\n\nraise KeyboardInterrupt",
        ProcessFailure(
            kind=FailureKind.EXCEPTION,
            exception="KeyboardInterrupt",
            message="KeyboardInterrupt",
            traceback="...",
            exit_code=130,
            call_site=site("train.py:3"),
        ),
    ),
    "sys.exit": (
        "import sys\n\nsys.exit(3)",
        ProcessFailure(
            kind=FailureKind.EXIT, exception="SystemExit", message="exited with status 3", exit_code=3, call_site=site("train.py:3")
        ),
    ),
    "sys.exit with a message": (
        "import sys\n\nsys.exit('no data')",
        ProcessFailure(kind=FailureKind.EXIT, exception="SystemExit", message="no data", exit_code=1, call_site=site("train.py:3")),
    ),
    "os._exit": (
        "import os\n\nos._exit(3)",
        ProcessFailure(
            kind=FailureKind.EXIT, exception=None, message="exited with status 3 (os._exit)", exit_code=3, call_site=site("train.py:3")
        ),
    ),
    "gap": (
        "from fakerun.rank import simulation\n\nsimulation.current.gap()",
        ProcessFailure(
            kind=FailureKind.GAP,
            exception="fakerun.errors.EmulationGapError",
            message="torch.cuda.teleport is not emulated; leave it out under fakerun",
            traceback="...",
            exit_code=4,
            call_site=site("train.py:3"),
        ),
    ),
    "gap that the script wraps": (
        "from fakerun.rank import simulation\ntry:\n  simulation.current.gap()\nexcept Exception as e:\n  raise RuntimeError from e",
        ProcessFailure(
            kind=FailureKind.GAP,
            exception="fakerun.errors.EmulationGapError",
            message="torch.cuda.teleport is not emulated; leave it out under fakerun",
            traceback="...",
            exit_code=4,
            call_site=site("train.py:3"),
        ),
    ),
    "a question that does not fit": (
        "from fakerun.rank import simulation\n\nsimulation.current.usage_error()",
        ProcessFailure(
            kind=FailureKind.USAGE,
            exception="fakerun.errors.UsageError",
            message="--mesh has three axes; give it two",
            exit_code=2,
            call_site=site("train.py:3"),
        ),
    ),
    "killed": (
        "import os\n\nos.kill(os.getpid(), 9)",
        ProcessFailure(
            kind=FailureKind.SIGNAL,
            exception=None,
            message="killed by SIGKILL (probably by the out-of-memory killer: this machine ran out of memory, or the process hit a limit)",
            exit_code=137,
        ),
    ),
    "abort": (
        "import os\n\nos.abort()",
        ProcessFailure(
            kind=FailureKind.SIGNAL,
            exception=None,
            message="killed by SIGABRT at train.py:3 (native code aborted; see the rank's stderr.log)",
            traceback='Stack (most recent call last):\n  File "{place}/train.py", line 3, in <module>\n',
            exit_code=134,
            call_site=site("train.py:3"),
        ),
    ),
    "exec": (
        "import os, sys\n\nos.execv(sys.executable, [sys.executable, '-c', 'raise SystemExit(2)'])",
        ProcessFailure(
            kind=FailureKind.EXIT,
            exception=None,
            message="the process ended with status 2 without passing through Python's exit (it called exec, or exit in native code)",
            exit_code=2,
        ),
    ),
}


EXITS = {
    "sys.exit": ("import sys\n\nsys.exit(0)", "train.py:3"),
    "exit": ("def done():\n    exit()\ndone()", "train.py:2"),
    "os._exit": ("import os\n\nos._exit(256)", "train.py:3"),
    "the end": ("import sys\n", None),
    "an exit that is caught": ("import sys\ntry:\n    sys.exit()\nexcept SystemExit:\n    pass", None),
}


@pytest.mark.parametrize(("source", "exited_at"), EXITS.values(), ids=EXITS)
def test_where_the_script_ended_itself_well(place: Path, source: str, exited_at: str | None) -> None:
    record = run_script(source).record
    assert (record.failure, record.blocked) == (None, None)
    assert record.exited_at == (None if exited_at is None else site(exited_at))


@pytest.mark.parametrize(("source", "expected"), FAILURES.values(), ids=FAILURES.keys())
def test_the_kind_of_failure(place: Path, source: str, expected: ProcessFailure) -> None:
    Path("sub").mkdir()
    Path("sub/part.py").write_text("def f():\n    1 / 0\n")
    failure = run_script(source.replace("{{", "{")).failure
    if expected.traceback == "...":
        assert failure.traceback.startswith(f'Traceback (most recent call last):\n  File "{place}/train.py", line 3, in <module>\n')
        assert str(Path(run_job.__code__.co_filename).parents[1]) not in failure.traceback
        failure = replace(failure, traceback="...")
    assert failure == replace(expected, traceback=expected.traceback.replace("{place}", str(place)))


def test_a_rank_without_a_record_has_its_coordinate(place: Path) -> None:
    Path("train.py").write_text("import os; os.kill(os.getpid(), 9)")
    report = build_report(JOB, run_ranks(JOB, open_run_directory(place.parent / "run")))
    assert report.mesh == Mesh.of({"dp": 2, "tp": 2})
    assert [rank.coordinate for rank in report.ranks] == [{"dp": 1, "tp": 1}]


@pytest.mark.parametrize(
    ("program", "exception", "message", "exit_code"),
    [
        ({"script": Path("train.py")}, "FileNotFoundError", "[Errno 2] No such file or directory: '{place}/train.py'", 1),
        ({"module": "not_there"}, "ImportError", "No module named not_there", 1),
        (
            {"module": "package"},
            "ImportError",
            "No module named package.__main__; 'package' is a package and cannot be directly executed",
            1,
        ),
    ],
)
def test_a_program_that_cannot_be_found(place: Path, program: Mapping[str, Any], exception: str, message: str, exit_code: int) -> None:
    Path("package").mkdir()
    Path("package/__init__.py").write_text("")
    failure = run(replace(JOB, **{"script": None, **program})).failure
    message = message.format(place=place)
    assert (failure.exception, failure.message, failure.exit_code) == (exception, message, exit_code)
    assert failure.traceback == f"{exception}: {message}\n"


def test_an_internal_error_keeps_its_whole_traceback(place: Path) -> None:
    failure = run_script("print('never')", FAKE_SIMULATION_FAULT="out of ideas").failure
    assert (failure.kind, failure.exception, failure.message, failure.exit_code) == (
        FailureKind.INTERNAL,
        "RuntimeError",
        "out of ideas",
        4,
    )
    assert "sitecustomize.py" in failure.traceback


def test_an_internal_error_under_the_script_is_not_the_scripts(place: Path) -> None:
    ours = run_script("from fakerun.rank import simulation\n\nsimulation.current.fault()")
    failure = ours.failure
    assert (failure.kind, failure.exception, failure.message) == (FailureKind.INTERNAL, "AttributeError", "a mistake")
    assert (failure.exit_code, failure.call_site) == (4, site("train.py:3"))
    assert "in fault" in failure.traceback
    assert "in fault" in ours.stderr


@pytest.mark.parametrize("way", ["refuse", "pass_through"])
def test_what_fakerun_does_for_torch_is_hidden_but_kept(place: Path, way: str) -> None:
    """An error that it raises in torch's place, and one that native code raises to which it handed the script's arguments."""
    ours = run_script(f"from fakerun.rank import simulation\n\nsimulation.current.{way}(bytes, 'x')")
    assert ours.failure.kind is FailureKind.EXCEPTION
    assert ours.failure.traceback == ours.stderr
    without_marks = "".join(line for line in ours.stderr.splitlines(keepends=True) if line.strip("~^ \n"))
    message = "RuntimeError: CUDA error: invalid device ordinal" if way == "refuse" else "TypeError: string argument without an encoding"
    assert without_marks == TRACEBACK.format(place=place, line=f"simulation.current.{way}(bytes, 'x')") + message + "\n"
    whole = ours.directory.rank(3).full_traceback.read_text()
    assert f"in {way}" in whole
    assert "not for the user's eyes" in whole or way == "pass_through"


# The step limit

STOPPED = {
    "plain": "step(); step(); print('not reached')",
    "finally": "try:\n    step(); step()\nfinally:\n    print('cleaned up')",
    "swallowed": "for _ in range(9):\n    try:\n        step()\n    except BaseException:\n        print('swallowed')",
    "turned into an exception": "step()\ntry:\n    step()\nfinally:\n    1 / 0",
    "turned into an exit": "import sys\ntry:\n    step(), step()\nexcept SystemExit:\n    sys.exit(1)",
    "turned into os._exit": "import os\ntry:\n    step(), step()\nexcept SystemExit:\n    os._exit(1)",
    "with a thread that waits forever": "import threading\nthreading.Thread(target=threading.Event().wait).start()\nstep(); step()",
    "with an exit handler": "import atexit\natexit.register(print, 'handler')\nstep(); step()",
}


@pytest.mark.parametrize("source", STOPPED.values(), ids=STOPPED.keys())
def test_a_script_that_was_stopped_has_not_failed(place: Path, source: str) -> None:
    ours = run_script(f"from fakerun.rank import simulation\nstep = simulation.current.step\n{source}")
    assert (ours.record.failure, ours.record.steps, ours.stderr) == (None, 2, "")
    assert "not reached" not in ours.stdout


def test_exit_handlers_of_a_stopped_script_run(place: Path) -> None:
    ours = run_script(
        "import atexit\nfrom fakerun.rank import simulation\natexit.register(print, 'handler')\nsimulation.current.step()",
        replace(JOB, steps=1),
    )
    assert ours.stdout == "handler\n"


# Output

MUCH_OUTPUT = """
import sys
for number in range(20_000):
    print("out", number, "x" * 50)
    print("err", number, "y" * 50, file=sys.stderr)
"""


def test_much_output_is_kept_and_shown_live(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Path("train.py").write_text(MUCH_OUTPUT)
    ours = run(JOB, show_output=True)
    assert ours.record.failure is None
    assert [len(text.splitlines()) for text in (ours.stdout, ours.stderr)] == [20_000, 20_000]
    shown = capfd.readouterr()
    assert shown.out == ""
    lines = shown.err.splitlines()
    assert [line for line in lines if " out " in line] == [f"[rank3]: {line}" for line in ours.stdout.splitlines()]
    assert [line for line in lines if " err " in line] == [f"[rank3]: {line}" for line in ours.stderr.splitlines()]


def test_without_show_output_nothing_is_shown(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Path("train.py").write_text("import os; os.write(1, b'out'); os.write(2, b'err')")
    ours = run(JOB)
    assert (ours.stdout, ours.stderr) == ("out", "err")
    assert capfd.readouterr() == ("", "")


# Several ranks


def test_every_rank_runs_in_order_even_if_others_fail(place: Path) -> None:
    Path("train.py").write_text("import os, sys; sys.exit(int(os.environ['RANK']) % 2)")
    result = run_ranks(replace(JOB, ranks=(0, 1, 3)), open_run_directory(place.parent / "run"))
    assert [(record.rank, record.failure and record.failure.exit_code) for record in result.ranks] == [(0, None), (1, 1), (3, 1)]
    assert result.torch_version == "0.0-fake"


# Being stopped. A script says through a fifo that it has come to where it is to be stopped.


class Fifo:
    """Tells when the script is ready, and when the last process that holds the other end is gone."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    def read(self) -> bytes:
        readable, _, _ = select.select([self._descriptor], [], [], LONG_S)
        assert readable, "the script did not come to the point"
        return os.read(self._descriptor, 1)

    def close(self) -> None:
        os.close(self._descriptor)


READY = "import ctypes, os, signal, sys, threading\nready = os.open('ready', os.O_WRONLY)\n"
FOREVER = "all(not threading.Event().wait(0.01) for _ in iter(int, 1))"
"""In one line, and in small waits: Python does not notice a signal that comes just before a wait without end."""
STUCK = {
    "waiting": "os.write(ready, b'x') and threading.Event().wait()",
    "busy": "os.write(ready, b'x') and all(True for _ in iter(int, 1))",
    "waiting in native code": "os.write(ready, b'x') and ctypes.CDLL(None).pause()",
    "every signal its own": "for n in set(signal.valid_signals()) - {9, 19}: signal.signal(n, print)\n"
    "os.write(ready, b'x') and threading.Event().wait()",
}


@contextmanager
def _started(source: str) -> Iterator[tuple[RankProcess, RunDirectory]]:
    Path("train.py").write_text(READY + source)
    directory = open_run_directory(Path.cwd().parent / "run")
    directory.write_job(replace(JOB, timeout_s=60.0))
    files = directory.rank(3)
    files.make()
    environment = worker_environment(JOB, 3, inherited=os.environ, error_file=files.error)
    task = RankTask(job_file=directory.job_file, rank=3, files=files, workdir=Path.cwd(), environment=environment)
    process = SERVER.fork(task)
    assert process is not None
    with process:
        yield process, directory


def _ends_within(process: RankProcess, seconds: float) -> bool:
    return bool(select.select([process], [], [], seconds)[0])


@pytest.mark.parametrize("source", STUCK.values(), ids=STUCK.keys())
def test_a_stuck_script_reports_its_line(place: Path, source: str) -> None:
    with closing(Fifo(Path("ready"))) as fifo, _started(source) as (process, directory):
        assert fifo.read() == b"x"
        process.ask(FailureKind.TIMEOUT)
        assert _ends_within(process, LONG_S)
    record = directory.records.read(3)
    assert record is not None
    assert record.failure is not None
    line = 2 + len(source.splitlines())
    failure = record.failure
    assert (failure.kind, failure.message, failure.exit_code) == (FailureKind.TIMEOUT, f"timed out after 60 s at train.py:{line}", 124)
    assert failure.traceback.startswith(f'Stack (most recent call last):\n  File "{place}/train.py", line {line}, in <module>\n')


def test_a_rank_says_where_it_is_as_often_as_it_is_asked(place: Path) -> None:
    source = "os.write(ready, b'x')\nwhile True:\n    threading.Event().wait(0.01)"
    with closing(Fifo(Path("ready"))) as fifo, _started(source) as (process, _):
        assert fifo.read() == b"x"
        for _ in range(3):
            process.ask_position()
            assert process.connection.poll(LONG_S)
            kind, position = process.connection.recv()
            assert (kind, position.steps, position.call_site.path) == ("position", 0, "train.py")
            assert position.call_site.line in (3, 4, 5)  # 3 says that it is ready
        process.ask(FailureKind.TIMEOUT)
        assert _ends_within(process, LONG_S)


def test_a_script_that_does_not_answer_is_killed(place: Path) -> None:
    """Native code that does not let go of the interpreter lock, from before the script is ready."""
    stuck = "ctypes.PyDLL(None).system(b'printf x > ready; tail -f /dev/null')"
    with closing(Fifo(Path("ready"))) as fifo, _started(stuck) as (process, directory):
        assert fifo.read() == b"x"
        process.ask(FailureKind.TIMEOUT)
        assert not _ends_within(process, 0.2)
        end = RankEnd(status=process.close(), stopped=FailureKind.TIMEOUT)
    failure = finished_record(replace(JOB, timeout_s=60.0), 3, end, directory.records.read(3)).failure
    assert failure is not None
    assert failure.message == "timed out after 60 s; the rank did not respond when asked for its stack"


def test_the_time_limit_of_the_job_is_kept(place: Path) -> None:
    """Where it is found depends on how long the start takes; the other tests are about that."""
    failure = run_script("while True: pass", replace(JOB, timeout_s=1.5)).failure
    assert (failure.kind, failure.exit_code) == (FailureKind.TIMEOUT, 124)
    assert failure.message.startswith("timed out after 1.5 s")


CHILD = "import subprocess\nsubprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'], pass_fds=[ready])\n"


@pytest.mark.parametrize("ending", ["", "1 / 0", "os._exit(0)", "os.kill(os.getpid(), 9)"], ids=["end", "exception", "os._exit", "killed"])
def test_children_do_not_outlive_the_rank(place: Path, ending: str) -> None:
    with closing(Fifo(Path("ready"))) as fifo:
        run_script(READY + CHILD + "os.write(ready, b'x')\n" + ending)
        assert fifo.read() == b"x"
        assert fifo.read() == b""


def test_one_rank_that_fails_does_not_stop_the_others(place: Path) -> None:
    Path("train.py").write_text(
        "import os, sys\nmatch os.environ['RANK']:\n    case '0': sys.exit(5)\n    case '1': os.kill(os.getpid(), 9)\n    case '2': 1 / 0\n"
    )
    records = run_ranks(replace(JOB, ranks=(0, 1, 2, 3)), open_run_directory(place.parent / "run"), jobs=3).ranks
    assert [record.failure and record.failure.kind for record in records] == [
        FailureKind.EXIT,
        FailureKind.SIGNAL,
        FailureKind.EXCEPTION,
        None,
    ]


def test_a_rank_that_kills_the_fork_server_does_not_affect_others(place: Path) -> None:
    """The ranks after it get another server."""
    Path("train.py").write_text("import os\nif os.environ['RANK'] == '0': os.kill(os.getppid(), 9)\n")
    records = run_job(replace(JOB, ranks=(0, 1, 2)), open_run_directory(place.parent / "run"), show_output=False, jobs=1).ranks
    assert [(record.rank, record.failure) for record in records] == [(0, None), (1, None), (2, None)]


def test_a_rank_outlives_the_fork_server_that_forked_it(place: Path) -> None:
    """Rank 0 kills the server while rank 1 runs; rank 1 ends when rank 2 has come from the next server."""
    os.mkfifo("started")
    os.mkfifo("replaced")
    Path("train.py").write_text(
        "import os\nmatch os.environ['RANK']:\n"
        "    case '0': open('started').read(); os.kill(os.getppid(), 9)\n"
        "    case '1': open('started', 'w').close(); open('replaced').read()\n"
        "    case '2': open('replaced', 'w').close()\n"
    )
    records = run_job(replace(JOB, ranks=(0, 1, 2)), open_run_directory(place.parent / "run"), show_output=False, jobs=2).ranks
    assert [(record.rank, record.failure) for record in records] == [(0, None), (1, None), (2, None)]


def test_a_fork_server_that_cannot_start_is_reported(place: Path) -> None:
    """Native code that dies while torch is loaded, for example."""
    (place / "sitecustomize.py").write_text("import os, sys\nprint('no such CPU', file=sys.stderr)\nos._exit(3)\n")
    Path("train.py").touch()
    job = replace(JOB, env={"PYTHONPATH": str(place)}, ranks=(0, 1))
    failures = [record.failure for record in run_job(job, open_run_directory(place.parent / "run"), show_output=False).ranks]
    assert [failure and (failure.kind, failure.exit_code, failure.traceback) for failure in failures] == [
        (FailureKind.EXIT, 3, "no such CPU\n")
    ] * 2


TALKING = """
import os, sys
from fakerun.rank.simulation import current
rank, mailbox = int(os.environ["RANK"]), current.mailbox
def said(*wanted):
    return [getattr(answer, "name", answer) for answer in mailbox.fetch(wanted)]
"""


SAY_RANK = "mailbox.publish('a', bytes([rank]))\n"
ALL_RANKS = str([bytes([rank]) for rank in range(4)])
TALKS = {
    # One rank at a time works, but those that wait do not: all four are there at once.
    "all to all": ((0, 1, 2, 3), SAY_RANK + "print(said(*((r, 'a') for r in range(4))))", dict.fromkeys(range(4), ALL_RANKS), ()),
    "those who are needed": (
        (3,),
        SAY_RANK + "if rank: print(said((rank - 1, 'a')))",
        {0: "", 1: r"[b'\x00']", 2: r"[b'\x01']", 3: r"[b'\x02']"},
        (0, 1, 2),
    ),
    "a cycle": ((0, 1), "print(said((1 - rank, 'never')))", {0: "['NEVER']", 1: "['NEVER']"}, ()),
    "one that ended": ((0, 1), "if rank: sys.exit()\nprint(said((1, 'never')))", {0: "['NEVER']", 1: ""}, ()),
    "one that was killed": ((0, 1), "if rank: os.kill(os.getpid(), 9)\nprint(said((1, 'never')))", {0: "['NEVER']", 1: ""}, ()),
}


@pytest.mark.parametrize(("ranks", "script", "said", "added"), TALKS.values(), ids=TALKS.keys())
def test_ranks_exchange_values(place: Path, ranks: tuple[int, ...], script: str, said: dict[int, str], added: tuple[int, ...]) -> None:
    Path("train.py").write_text(TALKING + script)
    directory = open_run_directory(place.parent / "run")
    run = run_ranks(replace(JOB, ranks=ranks), directory, jobs=1)
    assert {record.rank: directory.rank(record.rank).stdout.read_text().strip() for record in run.ranks} == said
    assert run.added == added


def test_without_memory_for_a_rank_that_others_wait_for_there_is_no_verdict(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "available_bytes", lambda: 100 * 2**20)
    Path("train.py").write_text(TALKING + SAY_RANK + "print(said(*((r, 'a') for r in range(4))))")
    with pytest.raises(
        HostMemoryError, match="this machine has 100 MiB of memory left, and a rank may need 512 MiB: 1 rank waits"
    ) as error:
        run_ranks(replace(JOB, ranks=(0, 1, 2, 3)), open_run_directory(place.parent / "run"), jobs=1)
    assert error.value.exit_code == 4


DRIVER = f"""
import os, signal, sys
from pathlib import Path
from fakerun.job.codec import decode_job
from fakerun.launch import open_run_directory, run_job, supervision
supervision.GRACE_S = {LONG_S}  # on a machine under load a script may need long to clean up
signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ['COMMAND'] = str(os.getpid())
job = decode_job(Path(sys.argv[1]).read_bytes())
for record in run_job(job, open_run_directory(Path(sys.argv[2])), show_output=False, jobs=1).ranks:
    print(record.rank, record.failure.kind.value, record.failure.exit_code, record.failure.message)
"""


def _drive(job: JobSpec, place: Path, prepare: str = "") -> "subprocess.CompletedProcess[str]":
    """Run the job from a process of its own: the script is going to do something to it."""
    from fakerun.job.codec import encode_job

    (place.parent / "wanted.json").write_bytes(encode_job(job))
    command = [sys.executable, "-c", prepare + DRIVER, str(place.parent / "wanted.json"), str(place.parent / "run")]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=LONG_S)


def test_ctrl_c_stops_the_run_and_keeps_what_there_is(place: Path) -> None:
    Path("train.py").write_text(
        "import os, signal, threading\n"
        "if os.environ['RANK'] == '0': raise SystemExit(5)\n"
        f"os.kill(int(os.environ['COMMAND']), signal.SIGINT) or {FOREVER}\n"
    )
    assert _drive(replace(JOB, ranks=(0, 1, 2)), place).stdout.splitlines() == [
        "0 exit 5 exited with status 5",
        "1 interrupted 130 interrupted at train.py:3",
        "2 interrupted 130 not started: fakerun was interrupted",
    ]


def test_a_ctrl_c_before_the_rank_is_registered_is_not_lost(place: Path) -> None:
    """It comes while the launcher has forked the rank and does not know its process id yet."""
    Path("train.py").write_text(f"import threading\ntry:\n    {FOREVER}\nexcept KeyboardInterrupt:\n    print('saved')\n")
    driver = (
        "from fakerun.launch.server import ForkServer\n"
        "import os, signal\n"
        "fork = ForkServer.fork\n"
        "def interrupted_fork(*args):\n"
        "    process = fork(*args)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    return process\n"
        "ForkServer.fork = interrupted_fork\n"
    )
    ended = _drive(replace(JOB, ranks=(0, 3)), place, driver)
    assert ended.stdout.splitlines()[1:] == ["3 interrupted 130 not started: fakerun was interrupted"], ended.stderr
    assert ended.stdout.startswith("0 interrupted 130 interrupted")


def test_a_ctrl_c_while_torch_is_loaded_starts_nothing(place: Path) -> None:
    (place / "sitecustomize.py").write_text(
        "import os, signal\nif 'COMMAND' in os.environ:\n    os.kill(int(os.environ['COMMAND']), 2)\n    signal.pause()"
    )
    Path("train.py").touch()
    ended = _drive(replace(JOB, env={"PYTHONPATH": str(place)}), place)
    assert ended.stdout == "3 interrupted 130 not started: fakerun was interrupted\n", ended.stderr


def test_a_second_ctrl_c_kills_the_ranks(place: Path) -> None:
    Path("train.py").write_text(
        "import os, signal, threading\nsignal.signal(signal.SIGINT, lambda *_: os.kill(int(os.environ['COMMAND']), signal.SIGINT))\n"
        f"os.kill(int(os.environ['COMMAND']), signal.SIGINT) or {FOREVER}\n"
    )
    assert _drive(JOB, place).stdout == "3 interrupted 130 interrupted\n"


def test_a_script_may_clean_up_after_ctrl_c(place: Path) -> None:
    Path("train.py").write_text(
        "import os, signal, threading\n"
        f"try:\n    os.kill(int(os.environ['COMMAND']), signal.SIGINT) or {FOREVER}\n"
        "except KeyboardInterrupt:\n    print('saved')\n"
    )
    assert _drive(JOB, place).stdout == "3 interrupted 130 interrupted\n"
    assert (place.parent / "run" / "rank-00003" / "stdout.log").read_text() == "saved\n"


def test_no_rank_outlives_a_fakerun_that_was_killed(place: Path) -> None:
    Path("train.py").write_text(
        READY + CHILD + "os.write(ready, b'x')\nos.kill(int(os.environ['COMMAND']), signal.SIGKILL) or threading.Event().wait()\n"
    )
    with closing(Fifo(Path("ready"))) as fifo:
        assert _drive(JOB, place).returncode == -signal.SIGKILL
        assert fifo.read() == b"x"
        assert fifo.read() == b""
