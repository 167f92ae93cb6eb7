"""What a user gets who makes a mistake, from the real command: the exit code, the lines that tell what is wrong, and where.

Each case is a command line for `train.py`; the lines are expected whole. `{place}` is the directory that the command is run in.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from fakerun.hardware.catalogue import accelerator_names
from tests.commands import fakerun
from tests.oracles.programs import installed_torch


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """A command line, the script that it is about, and what must come of it."""

    line: str
    script: str = ""
    exit_code: int
    stderr: tuple[str, ...] = ()
    stdout: tuple[str, ...] = ()


def refused(line: str, message: str) -> Mistake:
    """Before anything is run: one line on stderr, no report."""
    return Mistake(line=line, exit_code=2, stderr=(f"fakerun: error: {message}",))


ON_THE_COMMAND_LINE = {
    "no such script": refused("nope.py --world-size 8", "no such script: nope.py"),
    "a directory": refused(". --world-size 8", ".: is a directory; pass the script in it, or -m for a package"),
    "mesh and world size": refused(
        "train.py --world-size 8 --mesh 3x3",
        "mesh 3x3 (dp 3, tp 3) has 9 ranks, but the world size is 8; change one of them",
    ),
    "rank": refused("train.py --world-size 8 --rank 8", "rank 8 does not exist: a world size of 8 has ranks 0 to 7"),
    "no ranks": refused("train.py --world-size 0", "world size 0: must be at least 1"),
    "hardware": refused(
        "train.py --world-size 8 --hardware h100-81gb",
        "unknown hardware 'h100-81gb' (did you mean 'h100-80gb' or 'h100-96gb' or 'a100-80gb'?); known: " + ", ".join(accelerator_names()),
    ),
    "option before --": refused(
        "train.py --world-size 8 --learning-rate 3 -- --epochs 2",
        "no such option: --learning-rate; options for the script go after --, as in: fakerun train.py -- --learning-rate",
    ),
    "run directory": refused(
        "train.py --world-size 8 --run-dir train.py/run",
        "run directory train.py/run: Not a directory; pass a writable directory to --run-dir",
    ),
}

INITIALISED = "import torch\nimport torch.distributed as dist\n\ndist.init_process_group('nccl')\n"

IN_THE_SCRIPT = {
    "syntax error": Mistake(
        line="train.py --world-size 8",
        script="x = 1\nif x\n    pass\n",
        exit_code=3,
        stdout=(
            "FAILED  rank 0 at train.py:2, step 0: SyntaxError: expected ':' (train.py, line 2)",
            '    File "{place}/train.py", line 2',
            "      if x",
            "          ^",
            "  SyntaxError: expected ':'",
        ),
    ),
    "exception": Mistake(
        line="train.py --world-size 8",
        script="import torch\n\n\ndef step(x):\n    raise ValueError('loss is not finite:\\n' + str(x))\n\n\nstep(1)\n",
        exit_code=3,
        stdout=(
            "FAILED  rank 0 at train.py:5, step 0: ValueError: loss is not finite:",
            "  Traceback (most recent call last):",
            '    File "{place}/train.py", line 8, in <module>',
            "      step(1)",
            '    File "{place}/train.py", line 5, in step',
            "      raise ValueError('loss is not finite:\\n' + str(x))",
            "  ValueError: loss is not finite:",
            "  1",
        ),
    ),
    "more axes than the script's": Mistake(
        line="train.py --mesh 2x2x2",
        script="from torch.distributed import init_device_mesh\n\ninit_device_mesh('cuda', (2, 4), mesh_dim_names=('dp', 'tp'))\n",
        exit_code=2,
        stdout=(
            "FAILED  rank 0 at train.py:3, step 0: --mesh 2x2x2 has 3 axes, but the script makes a mesh with 2:",
            "dp=2,tp=4. Give --mesh as many sizes as the script's mesh has, or leave it out to take the script's",
            "own.",
        ),
    ),
    "never distributed": Mistake(
        line="train.py --world-size 8",
        script="import torch\n\nlinear = torch.nn.Linear(4, 4, device='cuda')\nlinear(torch.ones(2, 4, device='cuda'))\n",
        exit_code=0,
        stdout=(
            "warning  no-process-group",
            "  the script never initialised torch.distributed: its ranks do not know of each other.",
            "  hint: Call torch.distributed.init_process_group() or init_device_mesh(), or simulate it with",
        ),
    ),
    "no optimizer step": Mistake(
        line="train.py --world-size 8",
        script=INITIALISED + "dist.all_reduce(torch.ones(1, device='cuda'))\n",
        exit_code=0,
        stdout=(
            "warning  no-optimizer-step",
            "  the script ended without an optimizer step: the report covers all of it as one unfinished step.",
        ),
    ),
    "an exit before the first step": Mistake(
        line="train.py --world-size 8",
        script=INITIALISED + "if True:\n    exit()\n",
        exit_code=0,
        stdout=(
            "warning  no-optimizer-step  at train.py:6",
            "  the script ended itself without an optimizer step: the report covers all of it as one unfinished",
        ),
    ),
    "not emulated": Mistake(
        line="train.py --world-size 8",
        script="import torch\n\ntorch.distributed.rpc.init_rpc('worker')\n",
        exit_code=4,
        stdout=(
            "FAILED  rank 0 at train.py:3, step 0: torch.distributed.rpc.init_rpc is not emulated: remote",
            "procedure calls need the other ranks' processes. Skip the call in a dry run, for example behind an",
            "environment variable that the job sets.",
            '    File "{place}/train.py", line 3, in <module>',
        ),
    ),
    "operator without a kernel": Mistake(
        line="train.py --world-size 8",
        script="import torch\n\nif __name__ == '__main__':\n    torch.histogram(torch.ones(4, device='cuda'), 4)\n",
        exit_code=4,
        stdout=(
            "FAILED  rank 0 at train.py:4, step 0: torch.ops.aten.histogram is not emulated: torch cannot run it",
            "without the device. Skip the call in a dry run, for example behind an environment variable that the",
            "job sets.",
        ),
    ),
    "mixed devices": Mistake(
        line="train.py --world-size 8",
        script="import torch\n\nlinear = torch.nn.Linear(4, 4).cuda()\nlinear(torch.ones(2, 4))\n",
        exit_code=3,
        stdout=(
            "  RuntimeError: Expected all tensors to be on the same device, but got mat1 is on cpu, different from other tensors on cuda:0 "
            "(when checking argument in method wrapper_CUDA_addmm)",
            '    File "{place}/train.py", line 4, in <module>',
            "      return F.linear(input, self.weight, self.bias)",
        ),
    ),
}


def check(mistake: Mistake, place: Path) -> str:
    (place / "train.py").write_text(mistake.script)
    result = fakerun(*mistake.line.split(), cwd=place)
    assert result.returncode == mistake.exit_code, result.stdout + result.stderr
    missing = [line for line in mistake.stdout if line.format(place=place) not in result.stdout.splitlines()]
    assert not missing, result.stdout
    assert not [line for line in mistake.stderr if line not in result.stderr.splitlines()], result.stderr
    return result.stdout


@pytest.mark.parametrize("mistake", ON_THE_COMMAND_LINE.values(), ids=ON_THE_COMMAND_LINE.keys())
def test_a_mistake_on_the_command_line(tmp_path: Path, mistake: Mistake) -> None:
    assert check(mistake, tmp_path) == ""


@pytest.mark.parametrize("mistake", IN_THE_SCRIPT.values(), ids=IN_THE_SCRIPT.keys())
def test_a_mistake_in_the_script(tmp_path: Path, mistake: Mistake) -> None:
    report = check(mistake, tmp_path)
    assert "fakerun/emulate" not in report
    assert "_ops.py" not in report


def test_a_question_that_does_not_fit_the_script_is_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(IN_THE_SCRIPT["more axes than the script's"].script)
    result = fakerun("train.py", "--mesh", "2x2x2", "--format", "json", "--run-dir", "run", cwd=tmp_path)
    failure = json.loads(result.stdout)["ranks"][0]["failure"]
    assert (result.returncode, failure["kind"], failure["exit_code"], failure["traceback"]) == (2, "usage", 2, "")
    assert failure["message"].startswith("--mesh 2x2x2 has 3 axes, but the script makes a mesh with 2: dp=2,tp=4.")
    assert (tmp_path / "run" / "rank-00000" / "stderr.log").read_text() == f"fakerun: error: {failure['message']}\n"


def _real_message() -> str:
    """What the installed torch says of a size that is text: versions differ, and no device is needed to find out."""
    with pytest.raises(TypeError) as raised:
        torch.zeros(cast("Any", "x"), device="cpu")
    return str(raised.value)


MISUSES = {
    "a @ on_host": "Expected all tensors to be on the same device, but got mat2 is on cpu, different from other tensors on cuda:0 "
    "(when checking argument in method wrapper_CUDA_mm)",
    "a + on_host": "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!",
    "torch.cat([a, on_host])": "Expected all tensors to be on the same device, but got tensors is on cpu, different from other tensors on "
    "cuda:0 (when checking argument in method wrapper_CUDA_cat)",
    "functional.embedding(labels, a)": "Expected all tensors to be on the same device, but got index is on cpu, different from other "
    "tensors on cuda:0 (when checking argument in method wrapper_CUDA__index_select)",
    "functional.cross_entropy(a, labels)": "Expected all tensors to be on the same device, but got target is on cpu, different from other "
    "tensors on cuda:0 (when checking argument in method wrapper_CUDA_nll_loss_forward)",
    "functional.layer_norm(a, (4,), on_host[0])": "Expected all tensors to be on the same device, but got weight is on cpu, different from "
    "other tensors on cuda:0 (when checking argument in method wrapper_CUDA__native_layer_norm)",
    "functional.conv1d(on_host, a[None])": "Input type (torch.FloatTensor) and weight type (torch.cuda.FloatTensor) should be the same",
    "on_host[labels.cuda()]": "indices should be either on cpu or on the same device as the indexed tensor (cpu)",
    "a[labels]": "fine",
    "a @ a[:3]": "mat1 and mat2 shapes cannot be multiplied (4x4 and 3x4)",
    "a.numpy()": "can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory first.",
    "a.view(3, 3)": "shape '[3, 3]' is invalid for input of size 16",
    "torch.zeros('x', device='cuda')": _real_message(),
}


@pytest.mark.skipif(installed_torch() < (2, 13), reason="torch 2.11 words some of them otherwise")
def test_cuda_is_quoted(tmp_path: Path) -> None:
    """As torch 2.13 words it on a device; and nothing is logged about how it was found out."""
    calls = ", ".join(f"lambda: {call}" for call in MISUSES)
    (tmp_path / "train.py").write_text(
        "import torch\nfrom torch.nn import functional\n\n"
        "a, on_host = torch.ones(4, 4, device='cuda'), torch.ones(4, 4)\nlabels = torch.zeros(4, dtype=torch.long)\n"
        f"for call in ({calls}):\n    try:\n        call()\n        print('fine')\n    except Exception as error:\n        print(error)\n"
    )
    result = fakerun("train.py", "--world-size", "8", "--run-dir", "run", cwd=tmp_path)
    assert result.returncode == 0, result.stdout
    logs = tmp_path / "run" / "rank-00000"
    assert (logs / "stdout.log").read_text().splitlines() == "".join(f"{message}\n" for message in MISUSES.values()).splitlines()
    assert (logs / "stderr.log").read_text() == ""


BACKWARD = (
    INITIALISED
    + """
from torch.nn.parallel import DistributedDataParallel

class Strict(torch.autograd.Function):
    @staticmethod
    def forward(context, x):
        return x * 2

    @staticmethod
    def backward(context, gradient):
        raise ValueError('not today')

model = DistributedDataParallel(torch.nn.Linear(4, 4).cuda())
for _ in range(12):
    model(torch.ones(2, 4, device='cuda')).sum().backward()
Strict.apply(model(torch.ones(2, 4, device='cuda'))).sum().backward()
"""
)


def test_the_traceback_is_that_of_a_real_run(tmp_path: Path) -> None:
    """No trace of the functions through which torch asks the simulation; no warnings of torch's about the device that stands for CUDA."""
    (tmp_path / "train.py").write_text(BACKWARD)
    assert fakerun("train.py", "--world-size", "8", "--run-dir", "run", cwd=tmp_path).returncode == 3
    error = (tmp_path / "run" / "rank-00000" / "stderr.log").read_text()
    lines = [line.removeprefix("[rank0]: ") for line in error.splitlines()]
    frames = [line.rpartition(" ")[2] for line in lines if line.startswith("  File ")]
    assert frames == ["<module>", "backward", "backward", "_engine_run_backward", "apply", "backward"]
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1] == "ValueError: not today"
