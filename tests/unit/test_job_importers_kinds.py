"""Importing jobs from the files of other launchers: public examples of each kind, and what is refused."""

import os
from dataclasses import replace
from pathlib import Path
from textwrap import dedent

import pytest

from fakerun.errors import UsageError
from fakerun.job.check_file import load_jobs
from fakerun.job.importers.imported import ImportedJob
from fakerun.job.importers.kinds import ImportKind, imported_jobs, kind_of
from fakerun.job.importers.source import Source, read_source
from fakerun.job.launcher import Launcher
from fakerun.job.new_file import imported_file
from tests.unit.imported_by_hand import CASES, ORIGINS, Refused

FILES = Path(__file__).parent / "launcher_files"

KINDS = {
    ImportKind.ACCELERATE: ("accelerate_ddp.yaml", "accelerate_fsdp2.yaml", "accelerate_templates", "accelerate_tp", "alignment"),
    ImportKind.KUBEFLOW: ("kubeflow", "pytorchjob", "trainjob", "aws_fsdp_pytorchjob"),
    ImportKind.SKYPILOT: ("skypilot",),
    ImportKind.SBATCH: ("slurm", "accelerate_submit", "aws_", "csc_", "lightning", "princeton", "pytorch_examples_sbatch", "torchtitan"),
    ImportKind.COMMAND: ("torchrun", "torchx", "torchvision", "nanogpt", "pytorch_examples"),
}
"""What the names of the files begin with; the first that fits counts."""


def text_source(text: str) -> Source:
    return Source(name="file", text=dedent(text).removeprefix("\n"))


def jobs_of(text: str) -> tuple[ImportedJob, ...]:
    return imported_jobs(text_source(text))


def job_of(text: str) -> ImportedJob:
    (job,) = jobs_of(text)
    return job


def remarks(job: ImportedJob) -> str:
    return "\n".join(f"{note.line}: {note.text}" for note in job.notes)


def kind_named_by(file: str) -> ImportKind:
    return next(kind for kind, beginnings in KINDS.items() if file.startswith(beginnings))


def test_every_file_has_a_case_and_every_public_one_an_origin() -> None:
    files = {path.name for path in FILES.iterdir() if path.is_file()}
    assert files == CASES.keys()
    assert ORIGINS.keys() < files
    public = [kind_named_by(file) for file in ORIGINS]
    assert all(public.count(kind) >= 5 for kind in ImportKind)


@pytest.mark.parametrize("file", CASES)
def test_a_file_is_recognised(file: str) -> None:
    assert kind_of(read_source(FILES / file)) is kind_named_by(file)


@pytest.mark.parametrize("file", CASES)
def test_the_jobs_of_a_file(file: str) -> None:
    expected = CASES[file]
    if isinstance(expected, Refused):
        with pytest.raises(UsageError) as error:
            imported_jobs(read_source(FILES / file))
        assert str(error.value) == f"{FILES}/{expected.message}"
        return
    found = imported_jobs(read_source(FILES / file))
    assert tuple(replace(job, line=0, nproc_unknown=None) for job in found) == expected
    assert all((job.nproc_per_node is None) == (job.nproc_unknown is not None) for job in found)


@pytest.mark.parametrize("file", [file for file, jobs in CASES.items() if not isinstance(jobs, Refused)])
def test_what_is_written_is_read_as_these_jobs(file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the loader of job files. Scripts and directories with an absolute path are those of another machine: they are made here."""
    monkeypatch.chdir(tmp_path)
    jobs = [_here(job, tmp_path) for job in imported_jobs(read_source(FILES / file))]
    path = tmp_path / "fakerun.yaml"
    path.write_text(imported_file(jobs, file))
    loaded = load_jobs(path)
    assert [each.name for each in loaded] == [job.name for job in jobs]
    for each, job in zip(loaded, jobs, strict=True):
        request = each.request
        assert (request.args, request.env) == (job.args, dict(job.env))
        assert (request.nnodes, request.nproc_per_node, request.module) == (job.nnodes, job.nproc_per_node, job.module)
        assert request.script is None or request.script.samefile(job.script or "")
        assert request.workdir is not None
        assert request.workdir.samefile(job.workdir or tmp_path)
        assert request.launcher == (None if job.launcher is Launcher.TORCHRUN else job.launcher)
        assert request.hardware is None or request.hardware.name == job.hardware
        assert (request.mesh is None) == (not job.mesh)


def _here(job: ImportedJob, directory: Path) -> ImportedJob:
    """The job, complete, with a script that exists: that of the job below `directory`."""
    script = None if job.module else str(directory / "scripts" / Path(job.script or "train.py").name)
    for path in filter(None, (script, job.workdir)):
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
    if script:
        Path(script).touch()
    if job.workdir:
        (directory / job.workdir).mkdir(exist_ok=True)
    return replace(job, script=script, nproc_per_node=job.nproc_per_node or 8)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "file:1: the file is empty"),
        ("\n \n", "file:1: the file is empty"),
        ("torchrun a.py\n\0\n", "file:2: a null byte: this is not a text file"),
        ("hello world\n", "file:1: no command starts ranks; those that are read: torchrun"),
        ("a: 1\nb: 2\n", "file:1: not recognised as an accelerate configuration"),
        ("version: 1\njobs: {}\n", "file:1: this is a job file of fakerun already"),
        ("script: train.py\n", "file:1: this is a job file of fakerun already"),
        ("apiVersion: v1\nkind: Pod\n", "file:1: a Kubernetes manifest of Pod; only PyTorchJob and TrainJob are read"),
        ("num_processes: 8\n  bad: [\n", "file:2: not valid YAML"),
        ("num_processes: &a [*a]\n", "file:1: an alias contains itself; write out what it stands for"),
        ("x: &x {run: 1}\ny: {<<: *x}\nrun: a\n", "file:2: merge keys (<<) are not read; write out what is merged"),
        ("run: " + "[" * 500, "file:1: lists or mappings are nested too deeply"),
        ("---\nrun: a\n" * 101, "file:202: more than 100 documents; keep the one to import"),
        ("num_processes: 8\nnum_machines: 3\n", "file:1: num_processes: 8 processes do not fill 3 machines evenly"),
        ("num_processes: many\n", "file:1: num_processes: many is not a number above 0; write one"),
        ("num_processes: 0\n", "file:1: num_processes: 0 is not a number above 0; write one"),
        ("distributed_type: TPU\n", "file:1: distributed_type: TPU: only jobs on CUDA devices are simulated"),
        ("distributed_type: MULTI_GPU\nuse_cpu: true\n", "file:2: use_cpu: true: only jobs on CUDA devices are simulated"),
        ("distributed_type: FSDP\nfsdp_config: {fsdp_version: [2]}\n", "file:2: fsdp_config.fsdp_version: must be a single value"),
        ("num_nodes: 2\nsetup: a\n", "file:1: no task has run, the commands that start the ranks; add it"),
        ("run: [a]\n", "file:1: run: must be text"),
        ("num_nodes: x\nrun: torchrun a.py\n", "file:1: num_nodes: 'x' is not a number above 0"),
        ("resources: {accelerators: 'H100:x'}\nrun: torchrun a.py\n", "'x' is not a number of GPUs; write NAME:NUMBER, as in H100:8"),
        ("run: |\n  echo a\n  deepspeed --num_gpus 8 train.py\n", "file:3: deepspeed starts the ranks, and its commands are not read"),
        ("torchrun --nproc_per_node=8\n", "file:1: the command names no script"),
        ("torchrun --nproc_per_node\n", "file:1: --nproc_per_node has no value; give it one"),
        ("torchrun --nproc_per_node=x train.py\n", "file:1: --nproc-per-node is 'x', which is not a number above 0"),
        ("torchrun --nproc_per_node=$N train.py\n", "file:1: --nproc-per-node is $N: the value of $N is not in the file"),
        ("torchrun --nnodes=4:2x train.py\n", "file:1: --nnodes is '2x', which is not a number above 0"),
        ("torchrun --no-python ls\n", "file:1: --no-python starts no Python program"),
        ("torchrun --frobnicate 3 train.py\n", "file:1: torchrun has no option --frobnicate"),
        ("torchrun $SCRIPT\n", "file:1: the script is $SCRIPT: the value of $SCRIPT is not in the file; write the script there"),
        ("torchrun -m a/b\n", "file:1: 'a/b' is not a module name; write it as in package.module"),
        ("python -c 'print(1)'\n", "file:1: the command gives Python its program as text; write it to a script"),
        ("accelerate launch --num_processes 6 --num_machines 4 a.py\n", "file:1: 6 processes do not fill 4 machines evenly"),
        ("torchx run -s local utils.echo\n", "file:1: the TorchX component is utils.echo; those that are read: dist.ddp, dist.spmd"),
        ("torchx run dist.ddp -j 1x2\n", "file:1: exactly one of --script and -m names what TorchX runs"),
        ("torchx run dist.ddp -j 2xz --script a.py\n", "file:1: -j is 'z', which is not a number above 0"),
        ("torchx run dist.ddp --env A --script a.py\n", "file:1: --env A: 'A' has no value"),
        ("torchrun 'a.py\n", "file:1: the quote ' is not closed"),
        ('ls\ntorchrun "a.py\n', 'file:2: the quote " is not closed'),
        ("torchrun $(cat a.py\n", "file:1: $( is not closed"),
        ("A=(\n1\n", "file:1: the parenthesis of A=( is not closed"),
        ("#!/bin/sh\n#SBATCH -N x\nsrun python a.py\n", "file:2: -N x: not a number above 0; write one"),
        ("#!/bin/sh\n#SBATCH -N 3\n#SBATCH -n 8\nsrun python a.py\n", "file:3: -n 8: these do not fill 3 nodes evenly"),
        ("#!/bin/sh\n#SBATCH -J 'a\nsrun python a.py\n", "file:2: the quotes of the #SBATCH line are not closed"),
        (
            "#!/bin/sh\n#SBATCH -N 2\nsrun torchrun --nnodes 3 a.py\n",
            "file:3: the command says 3 nodes, and is started on 2; make them agree",
        ),
        ("torchrun a.py\n" * 101, "file:101: more than 100 commands start ranks; keep those to import"),
    ],
)
def test_what_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        jobs_of(text)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_variables_that_double_each_other_are_refused() -> None:
    doubling = "\n".join(f"A{index + 1}=$A{index}$A{index}" for index in range(40))
    with pytest.raises(UsageError, match="exceeds 65536 characters"):
        jobs_of(f"A0=abcdefgh\n{doubling}\ntorchrun $A40\n")


def test_words_without_end_are_refused() -> None:
    arrays = "\n".join(f'A{index + 1}=("${{A{index}[@]}}" "${{A{index}[@]}}")' for index in range(15))
    with pytest.raises(UsageError, match="more than 16384 words"):
        jobs_of(f'A0=(a)\n{arrays}\ntorchrun a.py "${{A15[@]}}"\n')


def test_pipes_and_large_files_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_text("#" * (1 << 18))
    (tmp_path / "binary").write_bytes(b"torchrun\n\xff\xfe")
    for name, message in (("pipe", "is a device or a pipe"), ("large", "at most"), ("binary", "2: not UTF-8"), ("none", "cannot read")):
        with pytest.raises(UsageError, match=message):
            read_source(tmp_path / name)


@pytest.mark.parametrize("directory", ["nodeSelector", "affinity"])
def test_the_accelerator_of_a_node_label(directory: str) -> None:
    selector = "nodeSelector: {nvidia.com/gpu.product: NVIDIA-H100-80GB-HBM3}"
    affinity = (
        "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: "
        "[{key: node.kubernetes.io/instance-type, operator: In, values: [p5.48xlarge]}]}]}}}"
    )
    job = job_of(f"""
        apiVersion: kubeflow.org/v1
        kind: PyTorchJob
        metadata: {{name: a}}
        spec:
          nprocPerNode: "8"
          pytorchReplicaSpecs:
            Worker:
              replicas: 2
              template:
                spec:
                  {selector if directory == "nodeSelector" else affinity}
                  containers:
                    - name: pytorch
                      command: [torchrun, train.py]
        """)
    assert (job.hardware, job.nnodes, job.nproc_per_node) == ("h100-80gb", 2, 8)


def test_a_template_override_names_the_accelerator() -> None:
    job = job_of("""
        apiVersion: trainer.kubeflow.org/v1alpha1
        kind: TrainJob
        metadata: {name: a}
        spec:
          podTemplateOverrides:
            - targetJobs: [{name: node}]
              spec: {nodeSelector: {node.kubernetes.io/instance-type: g6e.48xlarge}}
          trainer: {numNodes: 2, numProcPerNode: auto, command: [torchrun, a.py], resourcesPerNode: {limits: {nvidia.com/gpu: 4}}}
        """)
    assert (job.hardware, job.nproc_per_node) == ("l40s", 4)


def test_the_runtime_in_the_file_has_what_the_train_job_lacks() -> None:
    job = job_of("""
        apiVersion: trainer.kubeflow.org/v1alpha1
        kind: ClusterTrainingRuntime
        metadata: {name: own}
        spec:
          mlPolicy: {numNodes: 3, torch: {numProcPerNode: 4}}
          template:
            spec:
              replicatedJobs:
                - name: node
                  template: {spec: {template: {spec: {containers: [{name: node, command: [torchrun], args: [train.py, --lr, "1"]}]}}}}
        ---
        apiVersion: trainer.kubeflow.org/v1alpha1
        kind: TrainJob
        metadata: {name: a}
        spec:
          runtimeRef: {name: own}
        """)
    assert (job.script, job.args, job.nnodes, job.nproc_per_node) == ("train.py", ("--lr", "1"), 3, 4)


def test_master_and_worker_that_differ_are_refused() -> None:
    text = (FILES / "pytorchjob_simple.yaml").read_text()
    with pytest.raises(UsageError) as error:
        jobs_of(text.replace("--epochs=1", "--epochs=2", 1))
    assert str(error.value).startswith("file:27: Master (line 14) and Worker differ in command, args, env or GPUs; make them alike")


def test_a_shell_in_a_container() -> None:
    job = job_of("""
        apiVersion: trainer.kubeflow.org/v1alpha1
        kind: TrainJob
        metadata: {name: a}
        spec:
          trainer:
            numNodes: 2
            numProcPerNode: 8
            env: [{name: CONFIG, value: big.yaml}, {name: HF_TOKEN, value: hf_1}, {name: NODE, valueFrom: {fieldRef: {fieldPath: x}}}]
            command: [bash, -c]
            args: ["pip install x && torchrun train.py --config $CONFIG --token $HF_TOKEN"]
        """)
    assert (job.script, job.args) == ("train.py", ("--config", "big.yaml", "--token", "$HF_TOKEN"))
    assert job.env == (("CONFIG", "big.yaml"),)
    assert "HF_TOKEN, which may be a secret" in remarks(job)
    assert "NODE, whose value is taken from the cluster" in remarks(job)


def test_references_in_a_command_of_kubernetes() -> None:
    job = job_of("""
        apiVersion: trainer.kubeflow.org/v1alpha1
        kind: TrainJob
        metadata: {name: a}
        spec:
          trainer:
            numProcPerNode: 8
            env: [{name: CONFIG, value: big.yaml}, {name: HF_TOKEN, value: hf_1}]
            command: [torchrun, train.py, --config=$(CONFIG), --token=$(HF_TOKEN), --x=$(OTHER)]
        """)
    assert job.args == ("--config=big.yaml", "--token=$(HF_TOKEN)", "--x=$(OTHER)")
    assert "8: the command contains $(HF_TOKEN), which is not known here: write the value" in remarks(job)
    assert "8: the command contains $(OTHER), which is not known here" in remarks(job)


@pytest.mark.parametrize(
    ("gres", "hardware", "said"),
    [
        ("--gres=gpu:h200:8", "h200", ""),
        ("--gpus-per-node=h200:8", "h200", ""),
        ("--gres=gpu:a100_80gb:8", "a100-80gb", ""),
        ("--gres=gpu:a100:8", None, "a100 may be a100-40gb, a100-80gb, a100-pcie"),
        ("--gres=gpu:p100:8", None, "p100 is not known to fakerun"),
        ("--gres=gpu:8 -C h200", "h200", ""),
        ("--gres=gpu:8", None, ""),
        ("--gres=gpu:8 -C nvlink", None, "2: not carried over: -C nvlink"),
    ],
)
def test_the_accelerator_of_a_batch_script(gres: str, hardware: str | None, said: str) -> None:
    job = job_of(f"#!/bin/bash\n#SBATCH -N2 {gres}\nsrun torchrun --nnodes 2 --nproc-per-node gpu train.py\n")
    assert (job.hardware, job.nnodes, job.nproc_per_node) == (hardware, 2, 8)
    assert said in remarks(job)


@pytest.mark.parametrize(
    ("options", "srun", "nodes", "tasks"),
    [
        ("-N 2 --ntasks-per-node=4", "srun", 2, 4),
        ("--nodes=2-4 --ntasks-per-node=4", "srun", 4, 4),
        ("-N 2 -n 8", "srun", 2, 4),
        ("-n 8 --ntasks-per-node 4", "srun", 2, 4),
        ("-N 4 -n 32", "srun -N 2 -n 4", 2, 2),
        ("-N 4", "srun --ntasks-per-node=8 -l --mpi=none", 4, 8),
        ("-n 8", "srun", 1, 8),
        ("-N 3", "/usr/bin/srun -u", 3, 1),
    ],
)
def test_ranks_that_srun_starts(options: str, srun: str, nodes: int, tasks: int) -> None:
    job = job_of(f"#!/bin/bash\n#SBATCH {options}\n{srun} python -u train.py\n")
    assert (job.nnodes, job.nproc_per_node, job.launcher) == (nodes, tasks, Launcher.SLURM)


def test_several_launches_are_several_jobs() -> None:
    jobs = jobs_of("""
        #!/bin/bash
        #SBATCH --nodes 2 --job-name big --gpus-per-node=8
        python prepare.py
        srun torchrun --nnodes 2 --nproc-per-node 8 train.py
        if [ -n "$EVAL" ]; then srun torchrun --nnodes 2 --nproc-per-node 8 evaluate.py; fi
        """)
    assert [(job.name, job.script) for job in jobs] == [("big", "train.py"), ("big-2", "evaluate.py")]
    assert "3: not carried over: python prepare.py starts no ranks" in remarks(jobs[0])
    assert "5: the command runs under a condition" in remarks(jobs[1])


def test_a_directory_and_a_default() -> None:
    job = job_of("cd src\ncd -- ./pkg\ncd $ELSEWHERE\nexport MODE=${MODE:-fast}\ntorchrun --nproc-per-node 2 train.py --mode $MODE\n")
    assert (job.workdir, job.args, job.env) == ("src/pkg", ("--mode", "fast"), (("MODE", "fast"),))
    assert "MODE is not set here: its default 'fast' is taken" in remarks(job)
    assert "3: the directory $ELSEWHERE is not known here: set workdir" in remarks(job)


def test_braces_in_a_variable_are_no_names_of_fakerun() -> None:
    assert job_of("export A='${rank}'\ntorchrun train.py\n").env == (("A", "$${rank}"),)


def test_options_of_accelerate_are_its_settings() -> None:
    job = job_of(
        "accelerate launch --num_processes 4 --use_fsdp --fsdp_version 2 --mixed_precision bf16 --main_process_port 1 train.py --x\n"
    )
    env = dict(job.env)
    assert (env["FSDP_VERSION"], env["ACCELERATE_USE_FSDP"], env["ACCELERATE_MIXED_PRECISION"]) == ("2", "true", "bf16")
    assert (job.nproc_per_node, job.args) == (4, ("--x",))
    assert "only a real launch needs it: --main_process_port" in remarks(job)


def test_a_mesh_that_does_not_fill_the_world_is_left_out() -> None:
    text = (FILES / "accelerate_tp_hsdp.yaml").read_text()
    assert job_of(text.replace("num_processes: 8", "num_processes: 16")).mesh == ()


def test_local_rank_of_the_old_launcher() -> None:
    job = job_of("python -m torch.distributed.launch --nproc_per_node=8 train.py\n")
    assert "without --use-env passes --local-rank to the script" in remarks(job)
