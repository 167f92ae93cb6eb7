"""What is not emulated: one list, which the README shows. `python tests/unit/test_gaps.py` writes it there."""

import ast
from itertools import groupby
from pathlib import Path

import pytest

import fakerun.emulate
from fakerun.emulate.unsupported.gaps import SKIP_IT, Gap, all_gaps
from fakerun.errors import EmulationGapError

README = Path(__file__).parents[2] / "README.md"
START, END = "## Not emulated\n", "\n## "
GAPS = all_gaps()

SECTION = """
Nothing is guessed silently. Using one of these ends the run with exit code 4, the name of the API, your line and a way round, which is to
skip the call in a dry run (behind an environment variable that the job sets) where nothing else is said:

{ends}

With these the script goes on, and a finding `not-emulated` in the report names the API and your line:

{goes_on}

Checkpoints that would hold values nobody computed are not written; the report says so. What a script writes by other means (numpy, pickle,
a log) holds the neutral values; the line that asked for them is in the report.
"""


def entries(gaps: list[Gap]) -> str:
    """Lines of a list; gaps with the same reason share one."""
    lines = []
    for (reason, said), same in groupby(gaps, key=lambda gap: (gap.reason, gap.given if gap.goes_on else gap.workaround)):
        names = ", ".join(f"`{gap.name}`" if gap.name.startswith("torch.") else gap.name for gap in same)
        lines.append(f"- {names}: {reason}." + (f" {said}" if said != SKIP_IT else ""))
    return "\n".join(lines)


def section() -> str:
    ends = [gap for gap in GAPS if not gap.goes_on]
    return SECTION.format(ends=entries(ends), goes_on=entries([gap for gap in GAPS if gap.goes_on]))


def split_readme() -> tuple[str, str, str]:
    before, start, rest = README.read_text(encoding="utf-8").partition(START)
    shown, end, after = rest.partition(END)
    return before + start, shown, end + after


def test_the_readme_has_the_list() -> None:
    assert split_readme()[1] == section(), "python tests/unit/test_gaps.py writes what is not emulated into the README"


def test_no_gap_is_listed_twice() -> None:
    assert len({gap.name for gap in GAPS}) == len(GAPS)


@pytest.mark.parametrize("gap", GAPS, ids=lambda gap: gap.name)
def test_a_gap_says_what_why_and_what_then(gap: Gap) -> None:
    assert str(gap.error()) == f"{gap.name} is not emulated: {gap.reason}. {gap.workaround}"
    assert gap.workaround.endswith(".")
    assert not gap.reason.endswith(".")


def test_every_gap_is_raised_from_the_list() -> None:
    """An error made elsewhere would be in no list."""
    package = Path(fakerun.emulate.__file__).parent
    made = [
        (file.name, node.lineno)
        for file in package.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == EmulationGapError.__name__
    ]
    assert {name for name, _ in made} == {"gaps.py"}


if __name__ == "__main__":
    before, _, after = split_readme()
    README.write_text(before + section() + after, encoding="utf-8")
