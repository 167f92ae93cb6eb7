"""The table in docs/exact_and_estimated.md of what kernels request and no rule counts.

python -m tests.docs.not_counted    # write it there
"""

from pathlib import Path

from fakerun.device_memory.kernels.gaps import NOT_INCLUDED

PAGE = Path(__file__).parents[2] / "docs" / "exact_and_estimated.md"
_BEGINS, _ENDS = "Of what kernels request:\n\n", "\n## Placeholder values"


def page(text: str) -> str:
    """The page with the table of today in the place of the one it has."""
    before, begins, rest = text.partition(_BEGINS)
    _, ends, after = rest.partition(_ENDS)
    assert begins
    assert ends
    rows = (f"| {gap.what} | {gap.why} | {gap.bound} |" for gap in NOT_INCLUDED)
    table = "\n".join(("| What | Why | How much |", "|---|---|---|", *rows))
    return f"{before}{begins}{table}\n{ends}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
