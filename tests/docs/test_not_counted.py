"""The page tells what is left out as the code declares it."""

from tests.docs.not_counted import PAGE, page


def test_page_is_up_to_date() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text == page(text), "run python -m tests.docs.not_counted"
