"""The page of interconnects is up to date."""

from tests.docs.interconnects_page import PAGE, page


def test_interconnects_page() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run python -m tests.docs.interconnects_page"
