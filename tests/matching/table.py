"""The page that lists the suite's programs: python -m tests.matching.table rewrites it from the cases."""

import re
from collections.abc import Iterable
from pathlib import Path

from tests.matching.case import LEGAL as DIRECTORY_OF_LEGAL
from tests.matching.case import Bug, Program, Report
from tests.matching.cases import BUGS, LEGAL, REPORTS

PAGE = Path(__file__).with_name("README.md")

PAGE_TEXT = """\
# Programs whose ranks do not agree

`fakerun --ranks all` is run on each, and must find the bug for what it is, on its ranks and its line, and no other error. Each is
a short example of its bug, of which it knows nothing; the line is marked with `# BUG`, what it does not fit to with `# PEER`.

`pytest tests/matching` runs all of it, `-k splits` those with splits in their name. `python -m tests.matching.table` writes this page.

## Classes of bugs

Beside each program is its twin, `fixed.py`, of which nothing may be found; it differs in a few lines.

| Program | The bug | Ranks | Found |
|---|---|---|---|
{bugs}
## Public reports

The twin has the mend that the report has, or one like it.

| Report | The bug | Ranks | Found |
|---|---|---|---|
{reports}
## Legal

What looks like a bug, and is none: nothing may be found.

| Program | What it does |
|---|---|
{legal}"""


def page() -> str:
    return PAGE_TEXT.format(
        bugs=_rows((f"[{bug.name}](bugs/{bug.name}/bug.py)", bug.program.description, str(bug.world_size), found(bug)) for bug in BUGS),
        reports=_rows(
            (
                f"[{report.name}](reports/{report.name}/bug.py)",
                linked_to_the_report(report),
                str(report.world_size),
                found(report),
            )
            for report in REPORTS
        ),
        legal=_rows((f"[{name}](legal/{name}.py)", Program(path=DIRECTORY_OF_LEGAL / f"{name}.py").description) for name in LEGAL),
    )


def linked_to_the_report(report: Report) -> str:
    """Its story, in which the report's name comes first: `pytorch #77562`."""
    match = re.match(r".+? #[0-9]+", report.program.description)
    assert match, f"{report.name} does not begin with the name of its report"
    name, story = match[0], report.program.description[match.end() :]
    return f"[{name}](https://github.com/{report.at}){story}"


def found(case: Bug | Report) -> str:
    ranks = f"rank{'s' * (len(case.ranks) > 1)} {', '.join(map(str, case.ranks))}"
    return f"`{case.code}` ({case.severity}), {ranks}"


def _rows(rows: Iterable[tuple[str, ...]]) -> str:
    return "".join(f"| {' | '.join(column.replace('|', '&#124;') for column in row)} |\n" for row in rows)


if __name__ == "__main__":
    PAGE.write_text(page())
