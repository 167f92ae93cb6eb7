"""`docs/findings.md`, written from `FindingCode`. `python -m tests.docs.findings_page` writes it; test_findings_page.py compares."""

from collections.abc import Iterator
from pathlib import Path

from fakerun.records.finding_code import FindingCode, Severity

PAGE = Path(__file__).parents[2] / "docs" / "findings.md"

_INTRODUCTION = """\
# Findings

A finding is something you should know about the job. Its code is stable: reports, job files and CI annotations use it. An **error** makes
the command exit with 1, with `--strict` a **warning** too; a **note** never does. `--ignore CODE` leaves findings out.

*Flight recorder* says what torch's flight-recorder analyser (`torchfrtrace`, torch 2.13 and 2.15) may say of the dump of such a run: its
`MatchState`, "not all ranks joining", or "mismatched p2p operations". Where nothing is given, the analyser sees nothing wrong.
"""

_SEVERITIES = {
    Severity.ERROR: "Errors",
    Severity.WARNING: "Warnings",
    Severity.NOTE: "Notes",
}


def page() -> str:
    """The whole page, codes in the order of the enum under the heading of their severity."""
    return "\n".join((_INTRODUCTION, *_sections()))


def _sections() -> Iterator[str]:
    for severity, heading in _SEVERITIES.items():
        yield f"## {heading}\n"
        yield from map(_section, (code for code in FindingCode if code.severity is severity))


def _section(code: FindingCode) -> str:
    verdicts = ", ".join(f"`{verdict}`" if verdict.isupper() else verdict for verdict in code.verdicts)
    recorder = f"\n\n*Flight recorder:* {verdicts}." if verdicts else ""
    return f"### `{code}` {{ #{code} }}\n\n**{code.title}.** {code.meaning}\n\n*What to do:* {code.way_out}{recorder}\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
