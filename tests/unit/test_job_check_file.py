"""Files of several jobs: what they mean, and the errors of broken ones."""

import os
from pathlib import Path
from textwrap import dedent

import pytest

from fakerun.errors import UsageError
from fakerun.hardware.catalogue import accelerator_names, hardware_named
from fakerun.hardware.request import parse_hardware
from fakerun.job.budgets import Budgets, Required
from fakerun.job.check_file import CheckJob, file_name, load_jobs, select_jobs
from fakerun.job.mesh import parse_mesh
from fakerun.job.ranks import ALL_RANKS, RankChoice
from fakerun.job.yaml_job import JobFile, JobOfSeveral
from fakerun.records.finding_code import FindingCode

KEYS = ", ".join(JobFile.model_fields)
KEYS_AND_MATRIX = ", ".join(JobOfSeveral.model_fields)
IN_MATRIX = f"{KEYS}, env.NAME, exclude"


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with a `train.py`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").touch()
    return tmp_path


def load(text: str | bytes, name: str = "fakerun.yaml") -> dict[str, CheckJob]:
    Path(name).write_bytes(text if isinstance(text, bytes) else dedent(text).encode())
    return {job.name: job for job in load_jobs(Path(name))}


ALL = """\
version: 1
defaults:
  script: train.py
  args: [--lr, 1.50]
  env: {A: 1, B: 2.50}
  mesh: {dp: 8}
  hardware: {base: h200, memory: 94GiB}
  rank: 3
  timeout: 60
  ignore: [does-not-fit]
jobs:
  plain: {}
  changed:
    args: [--lr, 3]
    env: {B: 3.50, C: 4}
    mesh: {pp: 2, dp: 4}
    hardware: l4
    ranks: all
    timeout: 1.5
    strict: true
    ignore: over-budget
    baseline: known/changed.txt
  other: {module: package.train}
"""


def budgets_of_job(job: CheckJob) -> Budgets:
    """What it must keep; it says something of that."""
    assert job.request.budgets is not None
    return job.request.budgets


def test_defaults_are_merged_key_by_key_or_replaced() -> None:
    jobs = load(ALL)
    plain, changed, other = (jobs[name].request for name in ("plain", "changed", "other"))
    assert (plain.args, plain.env) == (("--lr", "1.50"), {"A": "1", "B": "2.50"})
    assert (changed.args, changed.env) == (("--lr", "3"), {"A": "1", "B": "3.50", "C": "4"})
    assert (str(plain.mesh), str(changed.mesh)) == ("dp=8", "pp=2,dp=4")
    assert (plain.hardware, changed.hardware) == (parse_hardware("h200,memory=94GiB"), hardware_named("l4"))
    assert (plain.ranks, changed.ranks) == (RankChoice.of([3]), ALL_RANKS)
    assert (plain.timeout_s, changed.timeout_s) == (60.0, 1.5)
    assert (other.script, other.module) == (None, "package.train")


def test_what_a_job_must_hold() -> None:
    jobs = load(ALL)
    plain, changed = budgets_of_job(jobs["plain"]), budgets_of_job(jobs["changed"])
    assert (plain.strict, plain.allowed_codes) == (None, frozenset({FindingCode.DOES_NOT_FIT}))
    assert (changed.strict, changed.allowed_codes) == (Required(source="fakerun.yaml:20"), frozenset({FindingCode.OVER_BUDGET}))
    assert (jobs["plain"].baseline, jobs["changed"].baseline) == (Path(".fakerun/baselines/plain.yaml"), Path("known/changed.txt"))
    assert (jobs["plain"].source, jobs["changed"].source) == ("fakerun.yaml:12", "fakerun.yaml:13")


def test_sizes_replace_sizes() -> None:
    text = """
        version: 1
        defaults: {script: train.py, world_size: 8}
        jobs:
          nodes: {nnodes: 2, nproc_per_node: 2}
        """
    assert load(text)["nodes"].request.resolve().world_size == 4
    other = text.replace("world_size: 8", "nnodes: 2, nproc_per_node: 2").replace(
        "{nnodes: 2, nproc_per_node: 2}\n        ", "{world_size: 3}\n"
    )
    assert "{world_size: 3}" in other
    assert load(other)["nodes"].request.resolve().world_size == 3


MATRIX = """\
version: 1
jobs:
  train:
    script: train.py
    env: {A: 1}
    matrix:
      mesh: [2x4, 8x1]
      hardware: [h100-80gb, h200]
      env.RING: [1.50, "no"]
      exclude:
        - {mesh: 8x1, hardware: h200}
        - {mesh: 2x4, env.RING: "no"}
"""


def test_a_matrix_has_a_job_for_each_combination() -> None:
    jobs = load(MATRIX)
    assert list(jobs) == [
        "train[mesh=2x4,hardware=h100-80gb,env.RING=1.50]",
        "train[mesh=2x4,hardware=h200,env.RING=1.50]",
        "train[mesh=8x1,hardware=h100-80gb,env.RING=1.50]",
        "train[mesh=8x1,hardware=h100-80gb,env.RING=no]",
    ]
    last = jobs["train[mesh=8x1,hardware=h100-80gb,env.RING=no]"]
    assert (last.request.mesh, last.request.env) == (parse_mesh("8x1"), {"A": "1", "RING": "no"})
    assert last.request.hardware == hardware_named("h100-80gb")
    assert last.baseline == Path(".fakerun/baselines/train.mesh=8x1,hardware=h100-80gb,env.RING=no.yaml")


def test_a_matrix_of_defaults_and_of_lists_and_maps() -> None:
    jobs = load(
        """
        version: 1
        defaults:
          script: train.py
          matrix: {mesh: [{dp: 2, tp: 4}], steps: [1]}
        jobs:
          a: {}
          b: {matrix: {args: [[--lr, 1.50], []], steps: [2, all]}}
        """
    )
    assert list(jobs) == [
        "a[mesh=dp=2,tp=4,steps=1]",
        "b[mesh=dp=2,tp=4,steps=2,args=--lr 1.50]",
        "b[mesh=dp=2,tp=4,steps=2,args=]",
        "b[mesh=dp=2,tp=4,steps=all,args=--lr 1.50]",
        "b[mesh=dp=2,tp=4,steps=all,args=]",
    ]
    assert jobs["b[mesh=dp=2,tp=4,steps=all,args=--lr 1.50]"].request.args == ("--lr", "1.50")


def test_aliases_share_parts() -> None:
    jobs = load(
        """
        version: 1
        jobs:
          a: {script: train.py, world_size: 2, env: &env {A: 1.50}, args: &args [x]}
          b: {script: train.py, world_size: 2, env: *env, args: *args}
        """
    )
    assert jobs["a"].request == jobs["b"].request


def test_a_file_of_a_single_job_is_named_as_the_file() -> None:
    (job,) = load("script: train.py\nworld_size: 2\nstrict: true\nworkdir: .\n", "nightly.yaml").values()
    assert (job.name, budgets_of_job(job).strict, job.request.world_size) == ("nightly", Required(source="nightly.yaml:3"), 2)
    assert job.baseline == Path(".fakerun/baselines/nightly.yaml")


def test_jobs_of_several_start_in_the_directory_of_the_file(directory: Path) -> None:
    (directory / "below" / "run").mkdir(parents=True)
    (directory / "below" / "scripts").mkdir()
    (directory / "below" / "scripts" / "other.py").touch()
    text = "version: 1\njobs:\n  a: {script: scripts/other.py, world_size: 1}\n  b: {script: ../train.py, workdir: run, world_size: 1}\n"
    jobs = {name: job.request.resolve() for name, job in load(text, "below/fakerun.yaml").items()}
    assert (jobs["a"].workdir, jobs["a"].script) == (directory / "below", Path("scripts/other.py"))
    assert (jobs["b"].workdir, jobs["b"].script) == (directory / "below" / "run", directory / "train.py")
    assert jobs["a"].script_file == directory / "below" / "scripts" / "other.py"
    os.chdir("below")
    here = {job.name: job.request.resolve() for job in load_jobs(Path("fakerun.yaml"))}
    assert (here["a"].workdir, here["a"].script) == (None, Path("scripts/other.py"))
    assert here["b"] == jobs["b"]


PYPROJECT = """
[project]
name = "x"  # another table

[tool.fakerun]
version = 1

[tool.fakerun.defaults]
script = "train.py"
env = {A = 1.50, B = true}

[tool.fakerun.jobs.small]
args = ["--lr", 1.50, 3]
mesh = "2x4"

[tool.fakerun.jobs."large"]
mesh.dp = 16
matrix = {steps = [1, "all"]}
"""


def test_pyproject() -> None:
    jobs = load(PYPROJECT, "pyproject.toml")
    assert list(jobs) == ["small", "large[steps=1]", "large[steps=all]"]
    small = jobs["small"].request
    assert (small.args, small.env) == (("--lr", "1.50", "3"), {"A": "1.50", "B": "true"})
    assert str(jobs["large[steps=1]"].request.mesh) == "dp=16"
    assert [job.source for job in jobs.values()] == ["pyproject.toml:12", "pyproject.toml:16", "pyproject.toml:16"]


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        ([], ["one", "two[steps=1]", "two[steps=2]", "tow"]),
        (["tow", "one"], ["one", "tow"]),
        (["two"], ["two[steps=1]", "two[steps=2]"]),
        (["two[steps=1]"], ["two[steps=1]"]),
        (["t*"], ["two[steps=1]", "two[steps=2]", "tow"]),
        (["two[*2]", "on?"], ["one", "two[steps=2]"]),
    ],
)
def test_jobs_by_name_and_pattern(wanted: list[str], names: list[str]) -> None:
    text = "version: 1\ndefaults: {script: train.py, world_size: 1}\njobs:\n  one: {}\n  two: {matrix: {steps: [1, 2]}}\n  tow: {}\n"
    jobs = tuple(load(text).values())
    assert [job.name for job in select_jobs(jobs, wanted, file=Path("fakerun.yaml"))] == names
    with pytest.raises(UsageError) as error:
        select_jobs(jobs, ["one", "twoo"], file=Path("fakerun.yaml"))
    assert str(error.value).startswith("fakerun.yaml: no job 'twoo' (did you mean ")
    assert str(error.value).endswith("; jobs: one, two[steps=1], two[steps=2], tow")


@pytest.mark.parametrize(
    ("job", "file"),
    [
        ("train", "train"),
        ("t[mesh=2x4,steps=1]", "t.mesh=2x4,steps=1"),
        ("t[args=--a /b c]", "t.args=--a--b-c"),
        ("a[x=../..]", "a.x=..-.."),
    ],
)
def test_names_of_files(job: str, file: str) -> None:
    assert file_name(job) == file


def several(*jobs: str, defaults: str = "{script: train.py, world_size: 8}") -> str:
    return "\n".join(["version: 1", f"defaults: {defaults}", "jobs:", *(f"  {job}" for job in jobs), ""])


ACCELERATORS = ", ".join(accelerator_names())
BROKEN = {
    "no version": ("jobs: {a: {script: train.py}}\n", [":1: version is missing; write version: 1"]),
    "another version": (
        "version: 2\njobs: {a: {script: train.py}}\n",
        [":1: version: must be 1, the only version that this fakerun reads, not the number 2"],
    ),
    "version that is true": (
        "version: true\njobs: {a: {script: train.py}}\n",
        [":1: version: must be 1, the only version that this fakerun reads, not true"],
    ),
    "version in words": (
        "version: one\njobs: {a: {script: train.py}}\n",
        [":1: version: must be 1, the only version that this fakerun reads, not the string 'one'"],
    ),
    "no jobs": ("version: 1\n", [":1: jobs is missing; it has a mapping for each job, by its name"]),
    "jobs without a value": ("version: 1\njobs:\n", [":2: jobs: has no value; give one or remove the key"]),
    "jobs in a list": ("version: 1\njobs: [{script: train.py}]\n", [":2: jobs: must be a mapping, not a list"]),
    "jobs as text": ("version: 1\njobs: train.py\n", [":2: jobs: must be a mapping, not the string 'train.py'"]),
    "no job": ("version: 1\njobs: {}\n", [":2: jobs: has no job; describe one, as in train: {script: train.py, world_size: 8}"]),
    "unknown key at the top": (
        "version: 1\nmatrx: 3\njobs: {a: {script: train.py}}\n",
        [":2: matrx: unknown key; allowed: version, defaults, jobs"],
    ),
    "mistyped key at the top": (
        "version: 1\ndefault: {}\njobs: {a: {script: train.py}}\n",
        [":2: default: unknown key (did you mean 'defaults'?); allowed: version, defaults, jobs"],
    ),
    "a job's key at the top": (
        "version: 1\nscript: train.py\njobs: {a: {script: train.py}}\n",
        [":2: script: unknown key; allowed: version, defaults, jobs; a job's key belongs below jobs.NAME or defaults"],
    ),
    "job as text": (several("a: train.py"), [f":4: jobs.a: must be a mapping, not the string 'train.py'; allowed keys: {KEYS_AND_MATRIX}"]),
    "job in a list": (several("a: [train.py]"), [f":4: jobs.a: must be a mapping, not a list; allowed keys: {KEYS_AND_MATRIX}"]),
    "job without a value": (several("a:"), [":4: jobs.a: has no value; give one or remove the key"]),
    "two jobs of a name": (several("a: {}", "a: {}"), [":5: jobs.a: duplicate key (first on line 4); keep one"]),
    "name with a blank": (
        several("'a b': {}"),
        [":4: jobs.a b: is not a name for a job: use letters, digits, _, - and ., at most 100, the first one a letter, a digit or _"],
    ),
    "name that begins with a dot": (
        several(".a: {}"),
        [":4: jobs..a: is not a name for a job: use letters, digits, _, - and ., at most 100, the first one a letter, a digit or _"],
    ),
    "name of a path": (
        several("../a: {}"),
        [":4: jobs.../a: is not a name for a job: use letters, digits, _, - and ., at most 100, the first one a letter, a digit or _"],
    ),
    "name with brackets": (
        several("'a[b=1]': {}"),
        [":4: jobs.a[b=1]: is not a name for a job: use letters, digits, _, - and ., at most 100, the first one a letter, a digit or _"],
    ),
    "defaults in a list": (several("a: {}", defaults="[train.py]"), [":2: defaults: must be a mapping, not a list"]),
    "unknown key in a job": (
        several("a:", "  stepps: 3"),
        [f":5: jobs.a.stepps: unknown key (did you mean 'steps'?); allowed: {KEYS_AND_MATRIX}"],
    ),
    "unknown key in defaults, once": (
        several("a: {}", "b: {}", defaults="{script: train.py, world_siez: 8}"),
        [f":2: defaults.world_siez: unknown key (did you mean 'world_size'?); allowed: {KEYS_AND_MATRIX}"],
    ),
    "wrong default that no job has": (
        several("a: {steps: 3}", defaults="{script: train.py, world_size: 8, steps: 0}"),
        [":2: defaults.steps: must be at least 1, or all, not 0"],
    ),
    "option of the command line": (several("a: {quiet: true}"), [":4: jobs.a.quiet: is an option of the command line only: pass --quiet"]),
    "no program": (
        several("a: {}", defaults="{world_size: 8}"),
        [":4: jobs.a: neither script nor module is given; one of them is required"],
    ),
    "two programs": (
        several("a: {script: train.py, module: train}"),
        [":4: jobs.a.module: script is also given (line 4); keep one of them"],
    ),
    "no such script": (several("a: {script: tain.py}"), [":4: jobs.a.script: no such script: tain.py (did you mean 'train.py'?)"]),
    "no such script by default": (
        several("a: {}", "b: {}", defaults="{script: nope.py, world_size: 8}"),
        [":2: defaults.script: no such script: nope.py (in job a)"],
    ),
    "script that is a directory": (
        several("a: {script: .}"),
        [":4: jobs.a.script: .: is a directory; pass the script in it, or -m for a package"],
    ),
    "no module": (several("a: {module: a-b}"), [":4: jobs.a.module: 'a-b' is not a module name; write it as in package.module"]),
    "mesh against the default": (
        several("a: {mesh: 2x2}"),
        [":4: jobs.a.mesh: mesh 2x2 (dp 2, tp 2) has 4 ranks, but the world size is 8; change one of them"],
    ),
    "default mesh against the job": (
        several("a: {world_size: 4}", defaults="{script: train.py, mesh: 2x4}"),
        [":2: defaults.mesh: mesh 2x4 (dp 2, tp 4) has 8 ranks, but the world size is 4; change one of them (in job a)"],
    ),
    "rank that is not there": (several("a: {rank: 8}"), [":4: jobs.a.rank: rank 8 does not exist: a world size of 8 has ranks 0 to 7"]),
    "rank and ranks": (several("a: {rank: 1, ranks: all}"), [":4: jobs.a.ranks: rank is also given (line 4); keep one of them"]),
    "hardware": (
        several("a: {hardware: h210}"),
        [f":4: jobs.a.hardware: unknown hardware 'h210' (did you mean 'h20' or 'h200'?); known: {ACCELERATORS}"],
    ),
    "default hardware": (
        several("a: {}", "b: {}", defaults="{script: train.py, world_size: 8, hardware: h210}"),
        [f":2: defaults.hardware: unknown hardware 'h210' (did you mean 'h20' or 'h200'?); known: {ACCELERATORS} (in job a)"],
    ),
    "figure of hardware": (
        several("a:", "  hardware:", "    base: h200", "    memory: 94"),
        [
            ":7: jobs.a.hardware.memory: '94' is not an amount of memory: give a number and a unit "
            "(KiB, MiB, GiB, TiB, MB, GB, TB), as in 94GiB"
        ],
    ),
    "hardware without a base": (
        several("a: {hardware: {memory: 94GiB}}"),
        [":4: jobs.a.hardware: base is missing: name the accelerator whose figures are replaced"],
    ),
    "variable of no rank's": (
        several("a: {env: {A: '${node}'}}"),
        [
            ":4: jobs.a.env.A: unknown name ${node} (did you mean 'node_rank'?); known: rank, local_rank, node_rank, world_size; "
            "$${ stands for ${"
        ],
    ),
    "timeout of zero": (several("a: {timeout: 0}"), [":4: jobs.a.timeout: must be a finite number of seconds above 0, not 0"]),
    "timeout of infinity": (several("a: {timeout: .inf}"), [":4: jobs.a.timeout: must be a finite number of seconds above 0, not inf"]),
    "timeout of nothing": (several("a: {timeout: .nan}"), [":4: jobs.a.timeout: must be a finite number of seconds above 0, not nan"]),
    "timeout in words": (several("a: {timeout: 5min}"), [":4: jobs.a.timeout: must be a number of seconds, not the string '5min'"]),
    "strict in words": (several("a: {strict: 'true'}"), [":4: jobs.a.strict: must be true or false, not the string 'true'"]),
    "strict as a number": (several("a: {strict: 1}"), [":4: jobs.a.strict: must be true or false, not the number 1"]),
    "ignored code": (
        several("a: {ignore: [does-not-fitt]}"),
        [":4: jobs.a.ignore: does-not-fitt: no finding has this code (did you mean 'does-not-fit'?); docs/findings.md lists all"],
    ),
    "ignored number": (
        several("a: {ignore: 3}"),
        [":4: jobs.a.ignore: must be a list of codes of findings (tight-fit), not the number 3"],
    ),
    "ignored numbers": (several("a: {ignore: [3]}"), [":4: jobs.a.ignore: must be a list of codes of findings (tight-fit), not a list"]),
    "workdir that is not there": (several("a: {workdir: nope}"), [":4: jobs.a.workdir: nope: no such directory"]),
    "workdir that is a file": (several("a: {workdir: train.py}"), [":4: jobs.a.workdir: train.py: is no directory"]),
    "workdir as a number": (several("a: {workdir: 3}"), [":4: jobs.a.workdir: must be a string, not the number 3"]),
    "empty workdir": (several("a: {workdir: ''}"), [":4: jobs.a.workdir: must not be empty"]),
    "baseline in a list": (
        several("a: {baseline: [x]}"),
        [":4: jobs.a.baseline: must be the path of a file, or a mapping with path and tolerances, not a list"],
    ),
    "one baseline of two jobs": (
        several("a: {baseline: x.txt}", "b: {baseline: x.txt}"),
        [":5: jobs.b.baseline: x.txt is the baseline of a, too; give b a file of its own"],
    ),
    "one baseline of a matrix": (
        several("a: {baseline: x.txt, matrix: {steps: [1, 2]}}"),
        [":4: jobs.a.baseline: x.txt is the baseline of a[steps=1], too; give a[steps=2] a file of its own"],
    ),
    "matrix in a list": (
        several("a: {matrix: [2x4]}"),
        [
            ":4: jobs.a.matrix: must be a mapping from keys of the job to lists of values, as in "
            "{mesh: [2x4, 8x1], hardware: [h100-80gb, h200]}"
        ],
    ),
    "empty matrix": (
        several("a: {matrix: {}}"),
        [":4: jobs.a.matrix: has no key; give keys of the job with lists of values, as in {mesh: [2x4, 8x1], hardware: [h100-80gb, h200]}"],
    ),
    "matrix that only excludes": (
        several("a: {matrix: {exclude: [{steps: 1}]}}"),
        [":4: jobs.a.matrix: has no key; give keys of the job with lists of values, as in {mesh: [2x4, 8x1], hardware: [h100-80gb, h200]}"],
    ),
    "unknown key of a matrix": (
        several("a: {matrix: {stepps: [1, 2]}}"),
        [f":4: jobs.a.matrix.stepps: is no key of a job (did you mean 'steps'?); allowed: {IN_MATRIX}"],
    ),
    "matrix of a matrix": (several("a: {matrix: {matrix: [{}]}}"), [f":4: jobs.a.matrix.matrix: is no key of a job; allowed: {IN_MATRIX}"]),
    "matrix of a variable without a name": (
        several("a: {matrix: {env.: [1]}}"),
        [f":4: jobs.a.matrix.env.: is no key of a job (did you mean 'env'?); allowed: {IN_MATRIX}"],
    ),
    "matrix of a scalar": (
        several("a: {matrix: {steps: 3}}"),
        [":4: jobs.a.matrix.steps: must be a list of the values of steps, at least one"],
    ),
    "matrix of no value": (
        several("a: {matrix: {steps: []}}"),
        [":4: jobs.a.matrix.steps: must be a list of the values of steps, at least one"],
    ),
    "value twice": (several("a: {matrix: {steps: [1, 2, 1]}}"), [":4: jobs.a.matrix.steps[2]: 1 is given twice; keep one"]),
    "wrong value of a matrix": (
        several("a: {matrix: {steps: [1, 0], mesh: [2x4, 1x8]}}"),
        [":4: jobs.a.matrix.steps[1]: must be at least 1, or all, not 0"],
    ),
    "wrong variable of a matrix": (
        several("a: {matrix: {env.A: [x, [y]]}}"),
        [":4: jobs.a.matrix.env.A[1]: must be a string or a number, not a list"],
    ),
    "mesh of a matrix against the world": (
        several("a:", "  matrix:", "    mesh:", "      - 2x4", "      - 2x2"),
        [":8: jobs.a.matrix.mesh[1]: mesh 2x2 (dp 2, tp 2) has 4 ranks, but the world size is 8; change one of them"],
    ),
    "exclusion that is no list": (
        several("a: {matrix: {steps: [1], exclude: {steps: 1}}}"),
        [":4: jobs.a.matrix.exclude: must be a list of combinations, as in [{mesh: 8x1, hardware: h200}]"],
    ),
    "exclusion that is no mapping": (
        several("a: {matrix: {steps: [1], exclude: [1]}}"),
        [":4: jobs.a.matrix.exclude[0]: must be a mapping from keys of the matrix to a value of each; its keys: steps"],
    ),
    "exclusion of nothing": (
        several("a: {matrix: {steps: [1], exclude: [{}]}}"),
        [":4: jobs.a.matrix.exclude[0]: must be a mapping from keys of the matrix to a value of each; its keys: steps"],
    ),
    "exclusion of another key": (
        several("a: {matrix: {steps: [1], exclude: [{step: 1}]}}"),
        [":4: jobs.a.matrix.exclude[0].step: is no key of the matrix (did you mean 'steps'?); its keys: steps"],
    ),
    "exclusion of another value": (
        several("a: {matrix: {mesh: [2x4, 8x1], exclude: [{mesh: 4x2}]}}"),
        [":4: jobs.a.matrix.exclude[0].mesh: 4x2 is no value of mesh in the matrix; its values: 2x4, 8x1"],
    ),
    "exclusion of everything": (
        several("a: {matrix: {steps: [1, 2], exclude: [{steps: 1}, {steps: 2}]}}"),
        [":4: jobs.a.matrix.exclude: excludes every combination; remove one of its entries"],
    ),
    "too many combinations": (
        several(f"a: {{matrix: {{steps: {list(range(1, 18))}, seed: {list(range(17))}}}}}"),
        [":4: jobs.a.matrix: has 289 combinations; at most 256 jobs can be described in one file"],
    ),
    "too many jobs": (
        several(*(f"j{number}: {{}}" for number in range(257))),
        [":3: jobs: 257 jobs; at most 256 can be described in one file"],
    ),
    "too many parts": (
        several(f"a: {{args: &args {[0] * 300}}}", *(f"j{number}: {{args: *args}}" for number in range(199))),
        [":1: has 60404 parts when defaults, aliases and matrices are written out; at most 50000 are read"],
    ),
    "alias of itself": (several("a: &a {env: *a}"), [":1: an alias contains itself, or lists or mappings are nested too deeply"]),
    "defaults that contain themselves": (
        several("a: {env: {x: y}}", defaults="&d {env: *d}"),
        [":1: an alias contains itself, or lists or mappings are nested too deeply"],
    ),
    "merge key": (several("a: {<<: {steps: 3}}"), [f":4: jobs.a.<<: unknown key; allowed: {KEYS_AND_MATRIX}"]),
    "Norway": (several("a: {args: [no]}"), [":4: jobs.a.args[0]: no is a boolean in YAML; write true or false, or quote it ('no')"]),
    "tag": (
        several("a: !!python/name:os.system {}"),
        [":4: jobs.a: the tag tag:yaml.org,2002:python/name:os.system is not allowed; write a plain value"],
    ),
    "all at once, in order of line": (
        several("a: {steps: 0}", "b: {scrpt: x}", "c: {hardware: [h200]}", defaults="{script: train.py, world_size: 0}"),
        [
            ":2: defaults.world_size: must be at least 1, not 0",
            ":4: jobs.a.steps: must be at least 1, or all, not 0",
            f":5: jobs.b.scrpt: unknown key (did you mean 'script'?); allowed: {KEYS_AND_MATRIX}",
            ":6: jobs.c.hardware: must be a name (h200) or a mapping ({base: h100-80gb, memory: 94GiB}), not a list",
        ],
    ),
    "no more than twenty": (
        several(*(f"j{number}: {{steps: 0}}" for number in range(30))),
        [*(f":{number + 4}: jobs.j{number}.steps: must be at least 1, or all, not 0" for number in range(20)), ": 10 more errors"],
    ),
}


@pytest.mark.parametrize(("text", "messages"), BROKEN.values(), ids=BROKEN.keys())
def test_broken(text: str, messages: list[str]) -> None:
    with pytest.raises(UsageError) as error:
        load(text)
    assert str(error.value).splitlines() == [f"fakerun.yaml{message}" for message in messages]


BROKEN_TOML = {
    "no TOML": ("[tool.fakerun\nversion = 1\n", [":1: not valid TOML: Expected ']' at the end of a table declaration"]),
    "end of the file": ("[tool.fakerun]\nversion =", [":2: not valid TOML: Invalid value"]),
    "no table": ("[tool.other]\nx = 1\n", [": has no table [tool.fakerun]; add one, or pass the path of a job file"]),
    "no table of tools": ("tool = 3\n", [": has no table [tool.fakerun]; add one, or pass the path of a job file"]),
    "not a table": ("tool.fakerun = 3\n", [f":1: a job file must be a mapping, not the number 3; allowed keys: {KEYS}"]),
    "no version": ("[tool.fakerun.jobs.a]\nscript = 'train.py'\n", [":1: version is missing; write version: 1"]),
    "keys of jobs": (
        "[tool.fakerun]\nversion = 1\n[tool.fakerun.jobs.a]\nscript = 'train.py'\nsteps = 0\nmesh = {dp = 0}\n"
        "[tool.fakerun.jobs.b]\nx = 1\n",
        [
            ":5: tool.fakerun.jobs.a.steps: must be at least 1, or all, not 0",
            ":6: tool.fakerun.jobs.a.mesh.dp: must be at least 1, not 0",
            f":8: tool.fakerun.jobs.b.x: unknown key; allowed: {KEYS_AND_MATRIX}",
        ],
    ),
    "date": (
        "[tool.fakerun]\nversion = 1\njobs.a = {script = 'train.py', steps = 2024-01-01}\n",
        [":3: tool.fakerun.jobs.a.steps: must be a whole number or all, not the date 2024-01-01"],
    ),
    "nested deeply": ("a = " + "[" * 5000, [":1: not valid TOML: lists or tables are nested too deeply"]),
    "large number": ("a = " + "1" * 5000, [":1: not valid TOML: a number or a date is not possible"]),
}


@pytest.mark.parametrize(("text", "messages"), BROKEN_TOML.values(), ids=BROKEN_TOML.keys())
def test_broken_toml(text: str, messages: list[str]) -> None:
    with pytest.raises(UsageError) as error:
        load(text, "pyproject.toml")
    assert str(error.value).splitlines() == [f"pyproject.toml{message}" for message in messages]


def test_many_aliases_of_aliases_are_harmless() -> None:
    """Nine levels of ten aliases each: a thousand million values, if each were followed."""
    levels = "\n".join(f"  l{i}: &l{i} {{{', '.join(f'{key}: *l{i - 1}' for key in 'abcdefghij')}}}" for i in range(1, 10))
    text = f"version: 1\ndefaults:\n  l0: &l0 {{x: y}}\n{levels}\n  env: *l9\njobs:\n  a: {{env: *l9}}\n"
    with pytest.raises(UsageError, match="parts when defaults, aliases and matrices are written out"):
        load(text)
