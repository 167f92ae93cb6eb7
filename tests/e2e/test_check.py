"""`fakerun check` on small programs, for real: what is cached, what changed, what a program reads, a Ctrl-C."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.commands import fakerun

STEP = """
import os, torch, torch.distributed as dist
dist.init_process_group()
torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
weight = torch.ones(SIZE, device="cuda", requires_grad=True)
optimizer = torch.optim.SGD([weight])
for _ in range(2):
    weight.sum().backward()
    dist.all_reduce(weight.grad)
    optimizer.step()
"""
ONE = "import os, helper\nSIZE = helper.SIZE * int(open('size.txt').read()) * int(os.environ.get('FACTOR', 1))\n" + STEP
TWO = "SIZE = 1024\n" + STEP
FILE = """\
version: 1
defaults: {world_size: 2, ranks: all}
jobs:
  one: {script: one.py}
  two: {script: two.py}
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with the programs, of an hour ago."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    for name, text in (("one.py", ONE), ("two.py", TWO), ("helper.py", "SIZE = 256\n"), ("size.txt", "4\n"), ("fakerun.yaml", FILE)):
        write(name, text)
    return tmp_path


def write(name: str, text: str) -> None:
    """Write a file that is an hour old: one that is younger than a run may have changed during it."""
    Path(name).write_text(text)
    os.utime(name, (time.time() - 3600,) * 2)


def simulated(*args: str, code: int = 0) -> set[str]:
    """The jobs that `fakerun check` simulates now, and does not take from the cache."""
    result = fakerun("check", *args, cwd=Path.cwd())
    assert result.returncode == code, result.stdout + result.stderr
    lines = [line for line in result.stderr.splitlines() if " ranks in " in line or " rank in " in line]
    return {line.split()[2].removesuffix(":") for line in lines}


def test_only_what_changed_is_simulated_again(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNRELATED", "2")
    assert simulated() == {"one", "two"}
    assert simulated() == set()
    assert simulated("--max-memory", "70GiB") == set(), "the limits are no part of the run"
    assert simulated("--max-memory", "1KiB", code=1) == set()
    for change in ("helper.py", "size.txt"):
        write(change, Path(change).read_text() + "\n")
        assert simulated() == {"one"}, change
    monkeypatch.setenv("FACTOR", "2")
    assert simulated() == {"one"}
    monkeypatch.setenv("UNRELATED", "3")
    assert simulated() == set()
    write("fakerun.yaml", FILE.replace("two.py}", "two.py, args: [x]}"))
    assert simulated() == {"two"}
    assert simulated("--no-cache", "one") == {"one"}
    files = {Path(path).name for path in json.loads((place / ".fakerun/cache/one/inputs.json").read_text())["files"]}
    assert files - {"forked_command.py"} == {"one.py", "helper.py", "size.txt"}, "the first is the main program of the tests"


LOOKS = {
    "module": "try:\n    import lib.local\nexcept ImportError:\n    pass\n",
    "opened": "try:\n    open('data/override.json')\nexcept OSError:\n    pass\n",
    "there": "from pathlib import Path\nPath('data/flag').exists()\n",
    "size": "import os\nos.path.getsize('data/0.bin')\n",
    "link": "import os\nos.readlink('data/latest')\n",
    "update": "open('data/state', 'r+').read()\n",
    "all": "import os\ndict(os.environ)\n",
    "bytes": "import os\nos.environb.get(b'FACTOR')\n",
    "makes": "import os\nos.makedirs('out/run', exist_ok=True)\nopen('out/run/log', 'a').write('.')\nos.path.getsize('out/run/log')\n",
}
"""Programs that look for something that Python does not audit, or that is not there."""


def test_what_is_only_looked_for_counts(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for directory in ("data", "lib"):
        (place / directory).mkdir()
    for name, text in {"lib/__init__.py": "", "data/0.bin": "0", "data/1.bin": "1", "data/state": "0"}.items():
        write(name, text)
    (place / "data/latest").symlink_to("0.bin")
    for name, text in LOOKS.items():
        write(f"{name}.py", text + TWO)
    write("fakerun.yaml", "version: 1\njobs:\n" + "".join(f"  {name}: {{script: {name}.py, world_size: 1}}\n" for name in LOOKS))
    assert simulated() == LOOKS.keys()
    assert simulated() == set(), "also what the program makes itself is no change"
    for name, text in {"lib/local.py": "", "data/override.json": "{}", "data/flag": "", "data/0.bin": "00", "data/state": "1"}.items():
        write(name, text)
    (place / "data/latest").unlink()
    (place / "data/latest").symlink_to("1.bin")
    monkeypatch.setenv("FACTOR", "2")
    assert simulated() == LOOKS.keys() - {"makes"}


def test_a_known_result_is_shown_only_where_nothing_differs(place: Path) -> None:
    """Of what runs are held against, one thing after the other is changed: each table is another, and the second time the same."""

    def shown(*args: str) -> str:
        result = fakerun("check", *args, cwd=place)
        assert result.returncode in (0, 1), result.stderr
        return result.stdout

    limits = "budgets: {communication: {calls: 0}}"
    tables = [shown("--update-baseline")]
    baseline = place / ".fakerun" / "baselines" / "two.yaml"
    for text in (
        FILE,
        FILE.replace("two.py}", f"two.py, {limits}}}"),
        "# moved\n" + FILE.replace("two.py}", f"two.py, {limits}}}"),
        FILE.replace("two.py}", f"two.py, ignore: over-budget, {limits}}}"),
    ):
        write("fakerun.yaml", text)
        tables.append(shown())
        assert shown() == tables[-1]
    baseline.write_text(baseline.read_text().replace("all_reduce sum", "all_reduce max"))
    tables.append(shown())
    assert shown() == tables[-1] == shown("--no-cache")
    assert len(set(tables)) == len(tables)


def test_jobs_whose_files_changed_since_a_revision(place: Path) -> None:
    def git(*args: str) -> None:
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main")
        subprocess.run(["git", *identity, *args], check=True, capture_output=True, cwd=place)

    result = fakerun("check", "--changed-since", "HEAD", cwd=place)
    assert (result.returncode, result.stderr.splitlines()[-1].startswith("fakerun: error: --changed-since HEAD: not a git repository")) == (
        2,
        True,
    )
    git("init")
    git("add", "one.py", "two.py", "helper.py", "size.txt", "fakerun.yaml")
    git("commit", "-m", "begin")
    result = fakerun("check", "--changed-since", "no-such", cwd=place)
    assert result.returncode == 2
    assert result.stderr.startswith("fakerun: error: --changed-since no-such: ")
    assert simulated("--changed-since", "HEAD") == {"one", "two"}, "nobody knows yet what they read"
    assert simulated("--changed-since", "HEAD", "--no-cache") == set()
    write("helper.py", "SIZE = 128\n")
    assert simulated("--changed-since", "HEAD", "--no-cache") == {"one"}
    git("commit", "-am", "change")
    assert simulated("--changed-since", "HEAD", "--no-cache") == set()
    assert simulated("--changed-since", "HEAD~1", "--no-cache") == {"one"}
    write("fakerun.yaml", FILE + "\n")
    assert simulated("--changed-since", "HEAD", "--no-cache") == {"one", "two"}


def test_a_program_that_starts_others_is_simulated_each_time() -> None:
    write("two.py", "import subprocess\nsubprocess.run(['true'])\n" + TWO)
    result = fakerun("check", "two", cwd=Path.cwd())
    assert "fakerun: note: two will be simulated each time: it starts other processes (subprocess.Popen)" in result.stderr
    assert simulated("two") == {"two"}


def test_jobs_that_fail_are_explained_and_kept(place: Path) -> None:
    write("two.py", TWO.replace("dist.all_reduce(weight.grad)", "dist.get_rank() or dist.all_reduce(weight.grad)"))
    write("three.py", "raise RuntimeError('no shards')\n")
    write("fakerun.yaml", FILE + "  three: {script: three.py}\n")
    result = fakerun("check", cwd=place)
    assert result.returncode == 3
    lines = result.stdout.splitlines()
    assert lines[0].startswith("SCRIPT FAILED  2 of 3 jobs failed (two, three)")
    assert "two  NOT OK" in lines
    assert any("at two.py:10" in line for line in lines)
    assert "FAILED  ranks 0-1 at three.py:1, step 0: RuntimeError: no shards" in lines
    kept = dict(
        line.removeprefix("fakerun: run directory of ").split(": ") for line in result.stderr.splitlines() if "directory of" in line
    )
    assert set(kept) == {"two", "three"}
    assert fakerun("report", kept["three"], cwd=place).returncode == 3
    assert fakerun("report", kept["two"], cwd=place).returncode == 1


def test_a_workdir_of_its_own(place: Path) -> None:
    """Where the ranks start; the script and the lines of it are shown from there."""
    (place / "below").mkdir()
    write("below/size.txt", "8\n")
    write("fakerun.yaml", "version: 1\njobs: {one: {script: one.py, world_size: 2, workdir: below, env: {PYTHONPATH: .}}}\n")
    result = fakerun("check", "--format", "json", cwd=place)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["ranks"][0]["status"] == "ok"
    inputs = json.loads((place / ".fakerun/cache/one/inputs.json").read_text())
    assert str(place / "below" / "size.txt") in inputs["files"]


def test_an_interruption_reports_what_is_done(place: Path) -> None:
    """A rank interrupts the command, as a Ctrl-C does; the job that ended before it is reported."""
    write("two.py", "import os, signal, time\nos.kill(int(os.environ['COMMAND']), signal.SIGINT)\ntime.sleep(60)\n")
    launcher = (
        "import os, signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); os.environ['COMMAND'] = str(os.getpid());"
        "from fakerun.cli.app import main; sys.exit(main(sys.argv[1:]))"
    )
    write("fakerun.yaml", "version: 1\njobs:\n  one: {script: one.py, world_size: 2, ranks: all}\n  two: {script: two.py, world_size: 1}\n")
    result = subprocess.run([sys.executable, "-c", launcher, "check", "-j", "1"], capture_output=True, text=True, check=False, cwd=place)
    assert result.returncode == 130, result.stderr
    rows = [line.split()[:2] for line in result.stdout.splitlines() if line.startswith(("one ", "two "))]
    assert ["one", "OK"] in rows
    assert ["two", "INTERRUPTED"] in rows


def test_a_job_is_held_against_its_baseline(place: Path) -> None:
    assert simulated("two", "--update-baseline") == {"two"}
    written = (place / ".fakerun" / "baselines" / "two.yaml").read_bytes()
    write("two.py", f"# what it does is the same\n{TWO}")
    assert simulated("two") == {"two"}
    assert simulated("two", "--update-baseline") == set()
    assert (place / ".fakerun" / "baselines" / "two.yaml").read_bytes() == written

    write("two.py", TWO.replace("    optimizer.step()", "    dist.all_reduce(weight.grad)\n    optimizer.step()"))
    result = fakerun("check", "two", "--output", "github", cwd=place)
    assert result.returncode == 1, result.stderr
    assert result.stdout.startswith("::error file=two.py,line=10,title=Other than the baseline [baseline-drift]::+1 all_reduce on world.")
    assert "fakerun: what differs from the baseline may be meant; then: fakerun check two --update-baseline\n" in result.stderr
    compared = fakerun("compare", "two", cwd=place)
    assert compared.returncode == 1
    assert "baseline of two -> run of two" in compared.stdout
    ignored = fakerun("check", "two", "--ignore", "baseline-drift", cwd=place)
    assert ignored.returncode == 0
    assert "may be meant" not in ignored.stderr
    assert ["ignored" in line.split() for line in ignored.stdout.splitlines() if line.startswith("baseline.calls")] == [True]
    assert "1 left out" in ignored.stdout
    assert simulated("two", "--update-baseline") == set()
    assert simulated("two") == set()


def test_a_baseline_that_is_named_must_be_there_and_one_of_a_failed_run_is_not_written(place: Path) -> None:
    write("fakerun.yaml", FILE.replace("two.py}", "two.py, baseline: known.yaml}"))
    result = fakerun("check", cwd=place)
    assert (result.returncode, result.stderr) == (
        2,
        "fakerun: error: fakerun.yaml:5: job two: baseline known.yaml is not there; write it with --update-baseline\n",
    )
    write("two.py", f"{TWO}    raise SystemExit(5)\n")
    result = fakerun("check", "two", "--update-baseline", cwd=place)
    assert result.returncode == 3
    assert "fakerun: baseline of two: not written, because the run did not end as it should\n" in result.stderr
    assert not (place / "known.yaml").exists()
