"""`fakerun init`: what it writes where, what it says, and what it never replaces."""

import errno
import io
import os
import sys
from pathlib import Path

import pytest

from fakerun.cli.app import main
from fakerun.cli.init import training_scripts
from fakerun.job.check_file import load_jobs

TRAINS = "import torch\nfor _ in range(2):\n    torch.ones(1)\n"
LIBRARY = "import torch\n\n\ndef f() -> None: ...\n"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line.removeprefix("fakerun: ") for line in capsys.readouterr().err.splitlines()]


def here() -> list[str]:
    return sorted(path.name for path in Path().iterdir())


def test_alone_it_writes_a_file_for_the_only_training_script(capsys: pytest.CaptureFixture[str]) -> None:
    Path("pretrain.py").write_text(TRAINS)
    Path("model.py").write_text(LIBRARY)
    assert main(["init"]) == 0
    assert said(capsys) == ["pretrain.py is the training script in this directory", "wrote fakerun.yaml; next: fakerun check"]
    (job,) = load_jobs(Path("fakerun.yaml"))
    assert (job.name, job.request.script) == ("train", Path("pretrain.py"))
    assert job.request.resolve().world_size == 8
    assert here() == ["fakerun.yaml", "model.py", "pretrain.py"]


@pytest.mark.parametrize(
    ("scripts", "expected"),
    [
        ({"a.py": TRAINS}, ["a.py"]),
        ({"a.py": TRAINS, "train.py": TRAINS}, ["train.py"]),
        ({"train_ddp.py": TRAINS, "train_fsdp.py": TRAINS}, ["train_ddp.py", "train_fsdp.py"]),
        ({"a.py": LIBRARY}, []),
        ({"a.py": "print(1)\n"}, []),
        ({"train.py": "import torch\nif __name__ == '__main__':\n    pass\n", "setup.py": TRAINS, "test_train.py": TRAINS}, ["train.py"]),
        ({"a.py": "import torch\n(", "b.py": "import torch\n\0"}, []),
        ({}, []),
    ],
)
def test_which_scripts_may_be_meant(scripts: dict[str, str], expected: list[str]) -> None:
    for name, text in scripts.items():
        Path(name).write_text(text)
    assert [str(path) for path in training_scripts(Path())] == expected


def test_a_pipe_among_the_scripts_is_not_waited_for() -> None:
    os.mkfifo("train.py")
    assert training_scripts(Path()) == []


def test_without_a_script_it_writes_a_placeholder_that_the_check_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init"]) == 0
    warning, wrote = said(capsys)
    assert warning.startswith("warning: no training script is chosen (there is none in this directory): the file names train.py")
    assert wrote == "wrote fakerun.yaml; next: fakerun check"
    with pytest.raises(Exception, match=r"fakerun.yaml:[0-9]+: jobs.train.script: no such script: train.py"):
        load_jobs(Path("fakerun.yaml"))


def test_several_candidates_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("train_a.py", "train_b.py"):
        Path(name).write_text(TRAINS)
    assert main(["init"]) == 0
    assert "train_a.py, train_b.py may all be meant" in said(capsys)[0]
    assert main(["init", "train_b.py", "--force"]) == 0
    assert load_jobs(Path("fakerun.yaml"))[0].request.script == Path("train_b.py")


def test_it_replaces_nothing_unless_forced(capsys: pytest.CaptureFixture[str]) -> None:
    Path("train.py").write_text(TRAINS)
    Path("fakerun.yaml").write_text("mine")
    assert main(["init"]) == 2
    message = "error: fakerun.yaml exists, and is not replaced; pass --force to replace it, or -o FILE to write another one"
    assert said(capsys) == [message]
    assert Path("fakerun.yaml").read_text() == "mine"
    assert main(["init", "--force", "-q"]) == 0
    assert said(capsys) == []
    assert Path("fakerun.yaml").read_text() != "mine"
    assert here() == ["fakerun.yaml", "train.py"]


def test_a_file_that_appears_meanwhile_is_not_replaced(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    Path("train.py").write_text(TRAINS)
    link = os.link

    def slow_link(source: Path, target: Path) -> None:
        Path(target).write_text("theirs")
        link(source, target)

    monkeypatch.setattr(os, "link", slow_link)
    assert main(["init"]) == 2
    assert said(capsys)[-1].startswith("error: fakerun.yaml exists, and is not replaced")
    assert Path("fakerun.yaml").read_text() == "theirs"
    assert here() == ["fakerun.yaml", "train.py"]


def test_a_file_system_without_hard_links(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_link(_source: Path, _target: Path) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    Path("train.py").write_text(TRAINS)
    monkeypatch.setattr(os, "link", no_link)
    assert main(["init"]) == 0
    assert here() == ["fakerun.yaml", "train.py"]
    written = Path("fakerun.yaml").read_text()
    assert main(["init", "-o", "other.yaml"]) == 0
    assert Path("other.yaml").read_text() == written


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--kind", "sbatch"], "--kind sbatch says what the file of --from is; pass --from FILE too"),
        (["--nproc-per-node", "8"], "--nproc-per-node completes what a file says: pass it with --from FILE"),
        (["-o", "train.py"], "output train.py: a job file ends with .yaml or .yml"),
        (["-o", "none/a.yaml"], "none/a.yaml: cannot be written: No such file or directory; pass another name with -o"),
        (["none.py"], "no such script: none.py"),
        (["--from", "none"], "none: cannot read the file: No such file or directory"),
        (["--from", "run.yaml", "-o", "run.yaml", "--force"], "output run.yaml is the file to import; pass another name with -o"),
        (["--from", "run.yaml", "--kind", "frob"], "unknown kind 'frob'"),
        (["--from", "run.yaml", "-o", "link.yaml", "--force"], "link.yaml is no ordinary file, and is not replaced"),
        (["--from", "run.yaml", "-o", "sub.yaml", "--force"], "sub.yaml is no ordinary file, and is not replaced"),
        (["--from", "run.yaml", "train.py"], "run.yaml names its scripts; leave out train.py"),
        (
            ["--from", "gpu.sh"],
            "gpu.sh:1: the number of ranks of a node (gpu) is counted on the machine, and the file does not give its GPUs; pass",
        ),
    ],
)
def test_what_is_refused(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("train.py").write_text(TRAINS)
    Path("run.yaml").write_text("run: torchrun --nproc-per-node 2 train.py\n")
    Path("gpu.sh").write_text("torchrun --nproc-per-node gpu train.py\n")
    Path("link.yaml").symlink_to("gpu.sh")
    Path("sub.yaml").mkdir()
    before = here()
    assert main(["init", *arguments]) == 2
    assert said(capsys)[-1].startswith(f"error: {message}")
    assert here() == before
    assert Path("run.yaml").read_text() == "run: torchrun --nproc-per-node 2 train.py\n"


def test_an_import_says_what_it_leaves_out_and_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    Path("run.sh").write_text("torchrun --nproc-per-node 2 --node-rank 0 train.py --lr 3e-4\n")
    assert main(["init", "--from", "run.sh", "-o", "ci.yaml"]) == 0
    assert said(capsys) == [
        "note: run.sh:1: not carried over, because only a real launch needs it: --node-rank",
        "warning: job train (run.sh:1): its script train.py is not here; change it in the file",
        "wrote ci.yaml; next: fakerun check ci.yaml",
    ]
    assert "# Line 1: not carried over, because only a real launch needs it: --node-rank" in Path("ci.yaml").read_text()
    Path("train.py").write_text(TRAINS)
    assert load_jobs(Path("ci.yaml"))[0].request.args == ("--lr", "3e-4")


def test_a_number_of_ranks_completes_what_a_file_says() -> None:
    Path("train.py").write_text(TRAINS)
    Path("run.sh").write_text("torchrun --nproc-per-node gpu train.py\ntorchrun --nproc-per-node 2 train.py\n")
    assert main(["init", "--from", "run.sh", "--nproc-per-node", "4"]) == 0
    assert [job.request.nproc_per_node for job in load_jobs(Path("fakerun.yaml"))] == [4, 2]
    assert "# Line 1: nproc_per_node is what was passed to fakerun init: the number of ranks" in Path("fakerun.yaml").read_text()


def test_a_configuration_without_a_script_gets_one() -> None:
    Path("sft.py").write_text(TRAINS)
    Path("config.yaml").write_text("distributed_type: MULTI_GPU\nnum_processes: 4\n")
    assert main(["init", "--from", "config.yaml"]) == 0
    assert load_jobs(Path("fakerun.yaml"))[0].request.script == Path("sft.py")
    Path("other.py").write_text(TRAINS)
    assert main(["init", "other.py", "--from", "config.yaml", "--force"]) == 0
    assert load_jobs(Path("fakerun.yaml"))[0].request.script == Path("other.py")


def test_standard_input_and_output(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    Path("train.py").write_text(TRAINS)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"torchrun --nproc-per-node 2 train.py\n")))
    assert main(["init", "--from", "-", "-o", "-"]) == 0
    out, err = capsys.readouterr()
    assert "nproc_per_node: 2" in out
    assert err == ""
    assert here() == ["train.py"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\xff", "standard input:1: not UTF-8: byte 0xff"),
        (b"a" * ((1 << 17) + 1), "standard input has more than 131072 bytes"),
        (b"", "standard input:1: the file is empty"),
    ],
)
def test_bad_standard_input(data: bytes, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert main(["init", "--from", "-"]) == 2
    assert said(capsys)[-1].startswith(f"error: {message}")
    assert here() == []
