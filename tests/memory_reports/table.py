"""The page that lists the suite's programs: python -m tests.memory_reports.table rewrites it from the cases."""

import re
from pathlib import Path

from fakerun.units import format_bytes
from tests.memory_reports.case import Held, Report
from tests.memory_reports.cases import REPORTS

PAGE = Path(__file__).with_name("README.md")

PAGE_TEXT = """\
# Programs that take more memory than they need

Each reproduces a public report in a short program, which knows nothing of fakerun. `fakerun --ranks all` must show what is held at the
peak as a formula has it, to the byte, and as the report has it ([cases.py](cases.py)); and the line that allocates it, marked with `# BUG`,
must be among the five largest tensors. Beside each program is its twin, `fixed.py`, with the mend that the report has, or one like it.

`pytest tests/memory_reports` runs all of it. `python -m tests.memory_reports.table` writes this page.

| Report | What happens | Ranks | Held at the peak | By the twin | The report's figure |
|---|---|---|---|---|---|
{reports}"""


def page() -> str:
    return PAGE_TEXT.format(reports="".join(f"| {' | '.join(_columns(report))} |\n" for report in REPORTS))


def _columns(report: Report) -> tuple[str, ...]:
    match = re.fullmatch(r"(.+? #[0-9]+): (.+)", report.program.description)
    assert match, f"{report.name} does not begin with the name of its report"
    name, story = match.groups()
    return (
        f"[{name}](https://github.com/{report.at})",
        f"[{story}](reports/{report.name}/bug.py)",
        f"{report.world_size} x {report.hardware}",
        f"{format_bytes(report.bug_bytes)} of {_what(report.held)}{f' (`{report.finding}`)' if report.finding else ''}",
        format_bytes(report.fixed_bytes),
        report.figure.says if report.figure else "no figure",
    )


def _what(held: Held) -> str:
    where = f" by rank {held.rank} on cuda:{held.cuda_index}" if held.rank != held.cuda_index else ""
    return f"{held.category.value}{where}"


if __name__ == "__main__":
    PAGE.write_text(page())
