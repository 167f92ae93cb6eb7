"""What is not emulated: one list, which `docs/not_emulated.md` shows.

python tests/unit/test_emulate_unsupported_gaps.py    # write it there
"""

import ast
from itertools import groupby
from pathlib import Path

import pytest

import fakerun.emulate
from fakerun.emulate.unsupported.gaps import SKIP_IT, Gap, all_gaps
from fakerun.errors import EmulationGapError

PAGE = Path(__file__).parents[2] / "docs" / "not_emulated.md"
GAPS = all_gaps()

TEXT = """\
# Not emulated

Nothing is guessed silently.

## What ends the run

Using one of these ends the run with exit code 4. The message has the name of the API, your line and the way out: skip the call in a dry run
(for example behind an environment variable that the job sets), unless something else is stated here.

{ends}

## What is answered, and reported

The script continues, and a finding `not-emulated` in the report names the API and your line.

{goes_on}

## Files

Checkpoints that would hold values that were not computed are not written; the report says so. The ranks of the run find and load
[stand-ins](how_it_works.md#checkpoints) instead. What a script writes by other means (numpy, pickle, a log) is written, and holds
placeholder values; the report has the line that asked for them. What the run did not make is
[moved, replaced and removed](how_it_works.md#checkpoints) in the view of the script only.
"""


def entries(gaps: list[Gap]) -> str:
    """Lines of a list; gaps with the same reason share one."""
    lines = []
    for (reason, said), same in groupby(gaps, key=lambda gap: (gap.reason, gap.given if gap.goes_on else gap.workaround)):
        names = ", ".join(f"`{gap.name}`" if gap.name.startswith("torch.") else gap.name for gap in same)
        lines.append(f"- {names}: {reason}." + (f" {said}" if said != SKIP_IT else ""))
    return "\n".join(lines)


def page() -> str:
    ends = [gap for gap in GAPS if not gap.goes_on]
    return TEXT.format(ends=entries(ends), goes_on=entries([gap for gap in GAPS if gap.goes_on]))


def test_the_page_has_the_list() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), f"python tests/unit/{Path(__file__).name} writes it"


def test_no_gap_is_listed_twice() -> None:
    assert len({gap.name for gap in GAPS}) == len(GAPS)


@pytest.mark.parametrize("gap", GAPS, ids=lambda gap: gap.name)
def test_a_gap_names_the_api_the_reason_and_the_workaround(gap: Gap) -> None:
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
    PAGE.write_text(page(), encoding="utf-8")
