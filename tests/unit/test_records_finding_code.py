"""The catalogue of finding codes is complete, and what is written from it is up to date."""

import re

import pytest

from fakerun.records.finding_code import FindingCode, Severity


@pytest.mark.parametrize("code", FindingCode)
def test_every_code_is_described(code: FindingCode) -> None:
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", code.value)
    assert code.name == code.value.upper().replace("-", "_")
    assert code.severity in Severity
    assert code.title
    assert not code.title.endswith(".")
    assert code.meaning.endswith(".")
    assert code.way_out.endswith(".")


def test_a_code_is_found_by_its_text() -> None:
    assert FindingCode("deadlock") is FindingCode.DEADLOCK
    with pytest.raises(ValueError, match="wait-cycle"):
        FindingCode("wait-cycle")


def test_only_errors_can_be_seen_by_the_flight_recorder() -> None:
    assert all(code.severity is Severity.ERROR for code in FindingCode if code.verdicts)
