"""Pages of docs/ that several scripts write: each owns what follows its heading, up to the heading of the next."""

from pathlib import Path

OWNED = ("# Accuracy", "## Step time")
"""The headings of parts, in the order of the page."""


def write_part(page: Path, heading: str, text: str) -> None:
    """Replace the part with this heading, which `text` begins with; the others stay."""
    parts = _parts(page.read_text(encoding="utf-8")) if page.exists() else {}
    parts[heading] = text.rstrip() + "\n"
    page.write_text("\n".join(parts[each] for each in OWNED if each in parts), encoding="utf-8")


def _parts(text: str) -> dict[str, str]:
    parts: dict[str, str] = {}
    current = ""
    for line in text.splitlines():
        if line in OWNED:
            current = line
        parts[current] = parts.get(current, "") + line + "\n"
    return {heading: part.rstrip() + "\n" for heading, part in parts.items()}
