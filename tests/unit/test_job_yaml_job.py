"""Jobs in YAML: the meaning of a file, and the errors of invalid ones."""

import inspect
from pathlib import Path
from textwrap import dedent

import pytest

from fakerun.cli.run import run
from fakerun.errors import UsageError
from fakerun.hardware.accelerator import FIGURES
from fakerun.hardware.catalogue import accelerator_names, hardware_named
from fakerun.hardware.request import parse_hardware
from fakerun.job.forbidden import EVERY_OPERATION
from fakerun.job.mesh import MeshSpec
from fakerun.job.ranks import ALL_RANKS, RankChoice
from fakerun.job.request import JobRequest
from fakerun.job.yaml_job import COMMAND_LINE_ONLY, JobFile, load_job
from fakerun.records.collective import CollectiveOp

KEYS = (
    "script, module, args, env, world_size, nnodes, nproc_per_node, mesh, hardware, steps, routing, launcher, alloc_conf, oom, "
    "torch_behaviour, interconnect, tokens_per_step, calibrate, "
    "error_on_collective, rank, ranks, samples, seed, workdir, timeout, budgets, strict, ignore, baseline"
)


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with a `train.py`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").touch()
    return tmp_path


def load(text: str | bytes) -> JobRequest:
    file = Path("job.yaml")
    file.write_bytes(text if isinstance(text, bytes) else dedent(text).encode())
    return load_job(file)


def test_every_key() -> None:
    text = """
        # All that a job file can say, but module.
        script: train.py
        args: [--lr, 1.50, --flag, "no", 2024-01-01, 1e-3, true]
        env: {NCCL_DEBUG: INFO, OMP_NUM_THREADS: 4, EMPTY: "", PORT: "1${rank}"}
        world_size: 16
        nnodes: 2
        nproc_per_node: 8
        mesh: {dp: 2, tp: 8}
        hardware: h200
        steps: 3
        routing: worst
        launcher: slurm
        oom: raise
        torch_behaviour: 2.6
        interconnect: ib-ndr-8x,nic_latency=9us
        tokens_per_step: 65536
        error_on_collective: [send, all_reduce]
        rank: 15
        """
    assert load(text) == JobRequest(
        script=Path("train.py"),
        args=("--lr", "1.50", "--flag", "no", "2024-01-01", "1e-3", "true"),
        env={"NCCL_DEBUG": "INFO", "OMP_NUM_THREADS": "4", "EMPTY": "", "PORT": "1${rank}"},
        world_size=16,
        nnodes=2,
        nproc_per_node=8,
        mesh=MeshSpec(axes=("dp", "tp"), sizes=(2, 8), named=True),
        hardware=hardware_named("h200"),
        steps=3,
        ranks=RankChoice.of([15]),
        routing="worst",
        launcher="slurm",
        oom="raise",
        torch_behaviour="2.6",
        interconnect="ib-ndr-8x,nic_latency=9us",
        tokens_per_step=65536,
        error_on_collective=(CollectiveOp.ALL_REDUCE, CollectiveOp.SEND),
        error_on_collective_source="job.yaml:18",
    )


@pytest.mark.parametrize("written", ["measured.yaml", "[measured.yaml, products.csv]"])
def test_measurements_are_read_with_the_file(directory: Path, written: str) -> None:
    jobs = directory / "jobs"
    jobs.mkdir()
    (jobs / "measured.yaml").write_text("step_s: 2.84\n")
    (jobs / "products.csv").write_text("m,n,k,dtype,us\n8,8,8,bf16,1\n")
    (jobs / "job.yaml").write_text(f"script: train.py\ncalibrate: {written}\n")
    calibration = load_job(Path("jobs/job.yaml")).calibration
    assert calibration is not None
    assert (calibration.step_s, len(calibration.products)) == (2.84, written.count(","))


@pytest.mark.parametrize(
    ("written", "forbidden"),
    [
        ("true", EVERY_OPERATION),
        ("false", ()),
        ("all", EVERY_OPERATION),
        ("'send,all_reduce'", (CollectiveOp.ALL_REDUCE, CollectiveOp.SEND)),
        ("[barrier]", (CollectiveOp.BARRIER,)),
        ("[]", ()),
    ],
)
def test_forms_of_forbidden_operations(written: str, forbidden: tuple[CollectiveOp, ...]) -> None:
    assert load(f"module: m\nerror_on_collective: {written}").error_on_collective == forbidden


@pytest.mark.parametrize(
    ("mesh", "spec"),
    [
        ("2x4", MeshSpec(axes=("dp", "tp"), sizes=(2, 4), named=False)),
        ("'dp=2,tp=4'", MeshSpec(axes=("dp", "tp"), sizes=(2, 4), named=True)),
        ("{ep: 8}", MeshSpec(axes=("ep",), sizes=(8,), named=True)),
        ("8", MeshSpec(axes=("dp",), sizes=(8,), named=False)),
    ],
)
def test_forms_of_a_mesh(mesh: str, spec: MeshSpec) -> None:
    assert load(f"module: m\nmesh: {mesh}").mesh == spec


@pytest.mark.parametrize(
    ("file", "script", "found"),
    [
        ("job.yaml", "train.py", "train.py"),
        ("configs/job.yaml", "../train.py", "train.py"),
        ("configs/job.yaml", "train.py", "train.py"),  # not beside the file, but in the current directory
        ("configs/job.yaml", "beside.py", "configs/beside.py"),
    ],
)
def test_a_script_is_looked_for_beside_the_file_first(file: str, script: str, found: str) -> None:
    Path("configs").mkdir()
    Path("configs/beside.py").touch()
    Path(file).write_text(f"script: {script}\nworld_size: 2\n")
    assert load_job(Path(file)).script == Path(found)


def test_an_absolute_file_finds_its_script_from_anywhere(directory: Path) -> None:
    (directory / "elsewhere").mkdir()
    (directory / "configs").mkdir()
    job = directory / "configs" / "job.yaml"
    job.write_text("script: ../train.py\n")
    assert load_job(job).script == directory / "train.py"


@pytest.mark.parametrize("written", ["h100-80gb,memory=94GiB", "{base: h100-80gb, memory: 94GiB}", "'{base: h100-80gb, memory: 94GiB}'"])
def test_hardware_with_figures(written: str) -> None:
    assert load(f"script: train.py\nhardware: {written}\n").hardware == parse_hardware("h100-80gb,memory=94GiB")


BROKEN = {
    "empty": ("", ["job.yaml:1: the file is empty"]),
    "only a comment": ("# later\n", ["job.yaml:1: the file is empty"]),
    "not a mapping": ("- train.py\n", [f"job.yaml:1: a job file must be a mapping, not a list; allowed keys: {KEYS}"]),
    "text": ("train.py\n", [f"job.yaml:1: a job file must be a mapping, not the string 'train.py'; allowed keys: {KEYS}"]),
    "not UTF-8": (b"script: train.py\nargs: [\xff]\n", ["job.yaml:2: not UTF-8: byte 0xff"]),
    "control character": (b"script: train.py\n\x07\n", ["job.yaml:2: not valid YAML: the character U+0007 is not allowed"]),
    "tab": (
        "script: train.py\nenv:\n\tA: 1\n",
        ["job.yaml:3: not valid YAML: found character '\\t' that cannot start any token; indent with spaces, not tabs"],
    ),
    "unclosed": ("script: train.py\nargs: [a\n", ["job.yaml:3: not valid YAML: expected ',' or ']', but got '<stream end>'"]),
    "two documents": ("script: train.py\n---\nscript: train.py\n", ["job.yaml:2: not valid YAML: but found another document"]),
    "nested deeply": ("[" * 5000, ["job.yaml:1: lists or mappings are nested too deeply"]),
    "object": (
        "script: !!python/object:os.system train.py\n",
        ["job.yaml:1: script: the tag tag:yaml.org,2002:python/object:os.system is not allowed; write a plain value"],
    ),
    "alias of itself": ("script: train.py\nargs: &a [*a]\n", ["job.yaml:2: args[0]: must be a string or a number, not a list"]),
    "unknown key": (
        "script: train.py\nworld_siez: 8\n",
        [f"job.yaml:2: world_siez: unknown key (did you mean 'world_size'?); allowed: {KEYS}"],
    ),
    "merge key": ("script: train.py\n<<: {steps: 2}\n", [f"job.yaml:2: <<: unknown key; allowed: {KEYS}"]),
    "key that is a list": ("script: train.py\n? [a]\n: 1\n", ["job.yaml:2: a key must be a string, not a list or a mapping"]),
    "duplicate key": ("script: train.py\nsteps: 2\nsteps: 3\n", ["job.yaml:3: steps: duplicate key (first on line 2); keep one"]),
    "duplicate axis": (
        "script: train.py\nmesh:\n  dp: 2\n  dp: 4\n",
        ["job.yaml:4: mesh.dp: duplicate key (first on line 3); keep one"],
    ),
    "sexagesimal": (
        "script: train.py\nmesh: 2:4\n",
        ["job.yaml:2: mesh: 2:4 is a base-60 number in YAML; quote it ('2:4'), or write a mesh as 2x4"],
    ),
    "Norway": (
        "script: train.py\nargs: [--country, no]\n",
        ["job.yaml:2: args[1]: no is a boolean in YAML; write true or false, or quote it ('no')"],
    ),
    "on": (
        "script: train.py\nenv:\n  DEBUG: on\n",
        ["job.yaml:3: env.DEBUG: on is a boolean in YAML; write true or false, or quote it ('on')"],
    ),
    "octal": (
        "script: train.py\nsteps: 010\n",
        ["job.yaml:2: steps: 010 is an octal number in YAML; drop the leading 0, or quote it ('010')"],
    ),
    "no value": ("script: train.py\nmesh:\n", ["job.yaml:2: mesh: has no value; give one or remove the key"]),
    "text for a number": (
        "script: train.py\nworld_size: eight\n",
        ["job.yaml:2: world_size: must be a whole number, not the string 'eight'"],
    ),
    "quoted number": ("script: train.py\nworld_size: '8'\n", ["job.yaml:2: world_size: must be a whole number, not the string '8'"]),
    "float": ("script: train.py\nsteps: 2.5\n", ["job.yaml:2: steps: must be a whole number or all, not the number 2.5"]),
    "a word for steps": ("script: train.py\nsteps: al\n", ["job.yaml:2: steps: must be a whole number or all, not the string 'al'"]),
    "truth value": ("script: train.py\nsteps: true\n", ["job.yaml:2: steps: must be a whole number or all, not true"]),
    "number for text": ("script: 7\n", ["job.yaml:1: script: must be a string, not the number 7"]),
    "zero": ("script: train.py\nworld_size: 0\n", ["job.yaml:2: world_size: must be at least 1, not 0"]),
    "text for a list": ("script: train.py\nargs: --lr 3\n", ["job.yaml:2: args: must be a list, not the string '--lr 3'"]),
    "list in a list": ("script: train.py\nargs: [[a]]\n", ["job.yaml:2: args[0]: must be a string or a number, not a list"]),
    "list for a map": ("script: train.py\nenv: [A=1]\n", ["job.yaml:2: env: must be a mapping, not a list"]),
    "no variable": ("script: train.py\nenv: {A=B: 1}\n", ["job.yaml:2: env.A=B: is not the name of an environment variable"]),
    "zero byte": (
        'script: train.py\nargs: ["a\\0b"]\n',
        ["job.yaml:2: args[0]: must not contain a null byte: no argument or variable can"],
    ),
    "list for a mesh": (
        "script: train.py\nmesh: [2, 4]\n",
        ["job.yaml:2: mesh: must be sizes (2x4), named sizes (dp=2,tp=4) or a mapping from axis to size, not a list"],
    ),
    "mesh of nonsense": (
        "script: train.py\nmesh: two by four\n",
        ["job.yaml:2: mesh: mesh 'two by four' is neither sizes nor named sizes; write 2x4 or dp=2,tp=4"],
    ),
    "axis of size zero": ("script: train.py\nmesh:\n  dp: 2\n  tp: 0\n", ["job.yaml:4: mesh.tp: must be at least 1, not 0"]),
    "mesh against world size": (
        "script: train.py\nworld_size: 8\nmesh: 3x3\n",
        ["job.yaml:3: mesh: mesh 3x3 (dp 3, tp 3) has 9 ranks, but the world size is 8; change one of them"],
    ),
    "nodes against world size": (
        "script: train.py\nworld_size: 8\nnnodes: 3\n",
        ["job.yaml:2: world_size: 8 ranks cannot be spread evenly over 3 nodes; change one of the numbers"],
    ),
    "ranks": (
        "script: train.py\nmesh: 2x4\nranks: [1, 8]\n",
        ["job.yaml:3: ranks: rank 8 does not exist: a world size of 8 has ranks 0 to 7"],
    ),
    "ranks of another kind": (
        "script: train.py\nranks: {first: 1}\n",
        ["job.yaml:2: ranks: must be all, or numbers and ranges (0,4-7), not a mapping"],
    ),
    "rank and ranks": ("script: train.py\nrank: 1\nranks: all\n", ["job.yaml:3: ranks: rank is also given (line 2); keep one of them"]),
    "rank": ("script: train.py\nmesh: 2x4\nrank: 8\n", ["job.yaml:3: rank: rank 8 does not exist: a world size of 8 has ranks 0 to 7"]),
    "hardware": (
        "script: train.py\nhardware: h210\n",
        [
            "job.yaml:2: hardware: unknown hardware 'h210' (did you mean 'h20' or 'h200'?); known: " + ", ".join(accelerator_names()),
        ],
    ),
    "hardware with figures": (
        "script: train.py\nhardware:\n  base: h101-80gb\n  memory: 94\n  memry: 94GiB\n  power_limit: 0W\n",
        [
            "job.yaml:3: hardware.base: unknown hardware 'h101-80gb' (did you mean 'h100-80gb' or 'a100-80gb' or 'h100-96gb'?); known: "
            + ", ".join(accelerator_names()),
            "job.yaml:4: hardware.memory: '94' is not an amount of memory: give a number and a unit "
            "(KiB, MiB, GiB, TiB, MB, GB, TB), as in 94GiB",
            "job.yaml:5: hardware.memry: unknown figure 'memry' (did you mean 'memory'?); known: " + ", ".join(FIGURES),
            "job.yaml:6: hardware.power_limit: '0W' is not possible: it must be above 0",
        ],
    ),
    "hardware without a base": (
        "script: train.py\nhardware: {memory: 94GiB}\n",
        ["job.yaml:2: hardware: base is missing: name the accelerator whose figures are replaced"],
    ),
    "hardware in a list": (
        "script: train.py\nhardware: [h200]\n",
        ["job.yaml:2: hardware: must be a name (h200) or a mapping ({base: h100-80gb, memory: 94GiB}), not a list"],
    ),
    "oom": ("script: train.py\noom: rise\n", ["job.yaml:2: oom: unknown oom 'rise' (did you mean 'raise'?); known: report, raise"]),
    "torch_behaviour": (
        "script: train.py\ntorch_behaviour: 1.9\n",
        ["job.yaml:2: torch_behaviour: unknown torch behaviour '1.9'; known: 2.5, 2.6, 2.7, 2.8"],
    ),
    "interconnect": (
        "script: train.py\ninterconnect: ib-ndr-8x,link=9us\n",
        [
            "job.yaml:2: interconnect: interconnect 'ib-ndr-8x,link=9us': unknown figure 'link'; known: nics_per_node, nic_bandwidth, "
            "nic_latency"
        ],
    ),
    "tokens_per_step": (
        "script: train.py\ntokens_per_step: 1.5\n",
        ["job.yaml:2: tokens_per_step: tokens per step 1.5: must be a whole number from 1 on, of all ranks together"],
    ),
    "calibrate without a file": (
        "script: train.py\ncalibrate: []\n",
        ["job.yaml:2: calibrate: must be the path of a file, or a list of them, not a list"],
    ),
    "calibrate with a file that is not there": (
        "script: train.py\ncalibrate: measured.yaml\n",
        ["job.yaml:2: calibrate: measured.yaml: cannot read the file: No such file or directory"],
    ),
    "torch_behaviour that is no version": (
        "script: train.py\ntorch_behaviour: [2.6]\n",
        ["job.yaml:2: torch_behaviour: must be a version (2.6), not a list"],
    ),
    "launcher": ("script: train.py\nlauncher: srun\n", ["job.yaml:2: launcher: unknown launcher 'srun'; known: torchrun, slurm, mpi"]),
    "a variable of no rank's": (
        "script: train.py\nenv:\n  A: 1\n  B: '${node}'\n",
        [
            "job.yaml:4: env.B: unknown name ${node} (did you mean 'node_rank'?); known: rank, local_rank, node_rank, world_size; "
            "$${ stands for ${"
        ],
    ),
    "routing": ("script: train.py\nrouting: even\n", ["job.yaml:2: routing: unknown routing 'even'; known: balanced, worst"]),
    "forbidden operations": (
        "script: train.py\nerror_on_collective: [all_reduce, sent]\n",
        [
            "job.yaml:2: error_on_collective: unknown operation 'sent' (did you mean 'send'?); known: all_reduce, all_gather, "
            "all_gather_into_tensor, reduce, reduce_scatter, "
            "reduce_scatter_tensor, broadcast, scatter, gather, all_to_all, all_to_all_single, send, recv, barrier"
        ],
    ),
    "forbidden number": (
        "script: train.py\nerror_on_collective: 3\n",
        ["job.yaml:2: error_on_collective: must be true, or a list of operations (all_reduce, send), not the number 3"],
    ),
    "no program": ("world_size: 8\n", ["job.yaml:1: neither script nor module is given; one of them is required"]),
    "two programs": ("script: train.py\nmodule: train\n", ["job.yaml:2: module: script is also given (line 1); keep one of them"]),
    "no such script": ("script: nope.py\n", ["job.yaml:1: script: no such script: nope.py"]),
    "empty script": ("script: ''\n", ["job.yaml:1: script: must not be empty"]),
    "no module": ("module: a-b\n", ["job.yaml:1: module: 'a-b' is not a module name; write it as in package.module"]),
    "all at once, in order of line": (
        "steps: -1\nscrpt: train.py\nargs: [yes]\nrank: x\n",
        [
            "job.yaml:1: steps: must be at least 1, or all, not -1",
            f"job.yaml:2: scrpt: unknown key (did you mean 'script'?); allowed: {KEYS}",
            "job.yaml:3: args[0]: yes is a boolean in YAML; write true or false, or quote it ('yes')",
            "job.yaml:4: rank: must be a whole number, not the string 'x'",
        ],
    ),
    "all between keys": (
        "script: nope.py\nmodule: train\nworld_size: 8\nmesh: 3x3\nrank: 8\n",
        [
            "job.yaml:1: script: no such script: nope.py",
            "job.yaml:2: module: script is also given (line 1); keep one of them",
            "job.yaml:4: mesh: mesh 3x3 (dp 3, tp 3) has 9 ranks, but the world size is 8; change one of them",
            "job.yaml:5: rank: rank 8 does not exist: a world size of 8 has ranks 0 to 7",
        ],
    ),
}


@pytest.mark.parametrize(("text", "messages"), BROKEN.values(), ids=BROKEN.keys())
def test_broken(text: str | bytes, messages: list[str]) -> None:
    with pytest.raises(UsageError) as error:
        load(text)
    assert str(error.value).splitlines() == messages


def test_every_option_is_a_key_or_said_to_be_none() -> None:
    """Of torchrun's options only those count that the command has itself."""
    own = {name.rstrip("_") for name in inspect.signature(vars(run)["__wrapped__"]).parameters} - {"ctx", "help_all"}
    assert own == set(JobFile.model_fields) - {"env", "workdir", "baseline", "budgets"} | COMMAND_LINE_ONLY


@pytest.mark.parametrize("key", sorted(COMMAND_LINE_ONLY))
def test_an_option_that_is_no_key_says_so(key: str) -> None:
    with pytest.raises(UsageError) as error:
        load(f"script: train.py\n{key}: 1\n")
    assert str(error.value) == f"job.yaml:2: {key}: is an option of the command line only: pass --{key.replace('_', '-')}"


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(UsageError) as error:
        load_job(Path("nope.yaml"))
    assert str(error.value) == "nope.yaml: cannot read the file: No such file or directory"


def test_many_aliases_of_aliases_are_harmless() -> None:
    """Nine levels of ten aliases each: a thousand million values, if each were followed."""
    levels = "\n".join(f"  l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 10)}]" for i in range(1, 10))
    with pytest.raises(UsageError, match=r"env\.l0: must be a string or a number"):
        load(f"script: train.py\nenv:\n  l0: &l0 [x]\n{levels}\n")


@pytest.mark.parametrize(
    ("text", "ranks"),
    [("all", ALL_RANKS), ("3", RankChoice.of([3])), ("0,4-7", RankChoice(((0, 0), (4, 7)))), ("[1, 4-7]", RankChoice(((1, 1), (4, 7))))],
)
def test_ranks(text: str, ranks: RankChoice) -> None:
    assert load(f"script: train.py\nranks: {text}\n").ranks == ranks
