"""The page that lists the suite's programs: python -m tests.compatibility.table rewrites it from the cases."""

from collections.abc import Iterator
from pathlib import Path

from tests.compatibility.case import Case
from tests.compatibility.cases import AREAS, CASES

PAGE = Path(__file__).with_name("README.md")

HEAD = """\
# Programs that fakerun is compared with

{programs} programs, {cases} runs of them. Each is under 60 lines, is an example of its feature, and knows nothing of fakerun: it runs
under `torchrun`, on GPUs or over gloo. The operations are those that a rank issues on CUDA: they must be all that fakerun reports, on
every rank. Where the last column says so, the same program is run by the real `torchrun` over gloo, and every rank must issue the same
sequence of operation, global ranks of the group, dtype, input and output sizes.

`pytest tests/compatibility` runs all of it, `-k fsdp2` those with fsdp2 in their name. `python -m tests.compatibility.table` writes this
page.
"""

AREA = """
## {area}

| Program | Shows | Ranks | Operations of a rank | Compared with gloo |
|---|---|---|---|---|
"""


def page() -> str:
    head = HEAD.format(programs=len({case.program for case in CASES}), cases=len(CASES))
    return head + "".join(AREA.format(area=area.replace("_", " ").capitalize()) + "".join(rows(cases)) for area, cases in AREAS.items())


def rows(cases: tuple[Case, ...]) -> Iterator[str]:
    for case in cases:
        columns = (linked(case), case.feature, ranks(case), operations(case), compared(case))
        yield f"| {' | '.join(column.replace('|', '&#124;') for column in columns)} |\n"


def linked(case: Case) -> str:
    arguments = f" `{' '.join(case.args)}`" if case.args else ""
    return f"[{case.path.stem}](programs/{case.program}.py){arguments}"


def ranks(case: Case) -> str:
    return str(case.world_size) if case.mesh is None else f"{case.world_size} ({case.mesh})"


def operations(case: Case) -> str:
    """Those of rank 0, and that other ranks have others; with torch before 2.15."""
    first = case.operations[0] if isinstance(case.operations, tuple) else case.operations
    counts = sorted(first.items())
    shown = ", ".join(f"{count} {op}" for op, count in counts) or "none"
    return shown if isinstance(case.operations, dict) else f"rank 0: {shown}"


def compared(case: Case) -> str:
    if case.not_on_gloo is not None:
        return f"no: {case.not_on_gloo.why}"
    reasons = [only.why for only in case.only_on_cuda] + [other.why for other in case.other_on_cuda]
    return "; ".join(["yes", *(f"except that on CUDA {why}" for why in reasons)])


if __name__ == "__main__":
    PAGE.write_text(page())
