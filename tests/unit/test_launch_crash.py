"""What Python's crash report says about the script."""

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

import fakerun
from fakerun.job.spec import JobSpec
from fakerun.launch.crash import CrashSite, crash_site
from tests.unit.records_by_hand import H100, site

JOB = JobSpec(
    script=Path("../scripts/train.py"),
    hardware=H100,
)
TORCH = Path(str(find_spec("torch").origin)).parent  # type: ignore[union-attr]
OURS = f'  File "{Path(fakerun.__file__).parent}/rank/script.py", line 45 in run\n'
REPORT = f"""Fatal Python error: Segmentation fault

Stack (most recent call first):
  File "{TORCH}/nn/modules/linear.py", line 125 in forward
{OURS}  File "{{file}}", line 7 in step
{OURS}  File "<frozen runpy>", line 88 in _run_code

Extension modules: torch._C (total: 1)
"""


@pytest.mark.parametrize(
    ("file", "call_site"),
    [
        ("/home/me/work/models/llama.py", "models/llama.py:7"),
        ("/home/me/work/.venv/lib/site-packages/other.py", "other.py:7"),
        ("/opt/elsewhere.py", "elsewhere.py:7"),
        ("<string>", None),
    ],
)
def test_the_innermost_line_of_the_users_is_found(file: str, call_site: str | None) -> None:
    assert crash_site(REPORT.format(file=file), JOB, Path("/home/me/work")) == CrashSite(
        stack="Stack (most recent call last):\n"
        f'  File "{file}", line 7, in step\n'
        f'  File "{TORCH}/nn/modules/linear.py", line 125, in forward\n',
        call_site=None if call_site is None else site(call_site),
    )


def test_the_scripts_directory_counts_too() -> None:
    job = replace(JOB, script=Path("/srv/scripts/train.py"))
    assert crash_site(REPORT.format(file="/srv/scripts/train.py"), job, Path("/home/me")).call_site == site("train.py:7")


@pytest.mark.parametrize("report", ["", "Fatal Python error: Aborted\n\n<no Python frame>\n"])
def test_a_crash_report_without_frames_has_no_call_site(report: str) -> None:
    assert crash_site(report, JOB, Path("/home/me/work")) == CrashSite()
