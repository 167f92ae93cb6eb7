"""The page of findings is up to date."""

from tests.docs.findings_page import PAGE, page


def test_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run python -m tests.docs.findings_page"
