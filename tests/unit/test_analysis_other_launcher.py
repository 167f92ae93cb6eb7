"""A failure at a variable of another launcher names the option."""

from dataclasses import replace

import pytest

from fakerun.analysis.other_launcher import other_launcher_findings
from fakerun.job.launcher import Launcher
from fakerun.records.run import FailureKind, ProcessFailure, RankRecord
from tests.unit.records_by_hand import site

KEY = ProcessFailure(
    kind=FailureKind.EXCEPTION, exception="KeyError", message="'SLURM_PROCID'", call_site=site("train.py:3"), traceback="KeyError"
)
NONE = replace(
    KEY,
    exception="TypeError",
    message="int() argument must be a string, a bytes-like object or a real number, not 'NoneType'",
    traceback='Traceback (most recent call last):\n  File "train.py", line 3, in <module>\n'
    '    rank = int(os.environ.get("OMPI_COMM_WORLD_RANK"))\nTypeError: int() argument\n',
)
TORCHRUN = replace(KEY, message="'TORCHELASTIC_RUN_ID'")


@pytest.mark.parametrize(
    ("failure", "launcher", "hint"),
    [
        (KEY, Launcher.TORCHRUN, "Run it with --launcher slurm."),
        (KEY, Launcher.MPI, "Run it with --launcher slurm."),
        (KEY, Launcher.SLURM, None),
        (NONE, Launcher.TORCHRUN, "Run it with --launcher mpi."),
        (TORCHRUN, Launcher.SLURM, "Run it with --launcher torchrun."),
        (replace(KEY, message="'NAME'"), Launcher.TORCHRUN, None),
        (replace(KEY, kind=FailureKind.EXIT), Launcher.TORCHRUN, None),
        (replace(NONE, traceback=NONE.traceback + '  File "other.py", line 1, in f\n    int(None)\n'), Launcher.TORCHRUN, None),
    ],
)
def test_hints(failure: ProcessFailure, launcher: Launcher, hint: str | None) -> None:
    findings = list(other_launcher_findings([RankRecord(rank=0), RankRecord(rank=1, failure=failure)], launcher))
    assert [(finding.hint, finding.ranks, finding.call_site) for finding in findings] == (
        [(hint, (1,), site("train.py:3"))] if hint else []
    )
