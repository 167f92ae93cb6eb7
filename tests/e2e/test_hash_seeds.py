"""Ranks order sets of strings each in its own way, as processes of their own do, and the same rank always in the same way."""

import json
from typing import Any

import pytest

from tests.commands import fakerun, started

PROGRAM = "tests/programs/set_order.py"


def report_of(*options: str, expected: int) -> dict[str, Any]:
    result = started(*options, "--world-size", "2", "--format", "json", PROGRAM)
    assert result.returncode == expected, result.stderr
    report: dict[str, Any] = json.loads(result.stdout)
    return report


def test_ranks_iterate_a_set_in_different_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONHASHSEED")
    both = report_of("--ranks", "all", expected=1)
    assert [each["code"] for each in both["findings"] if each["severity"] == "error"] == ["swapped-collectives"]
    alone = report_of("--rank", "1", expected=0)
    assert alone["ranks"] == both["ranks"][1:]


def test_a_seed_of_the_users_orders_the_sets_of_all_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHASHSEED", "5")
    first, second = report_of("--ranks", "all", expected=0)["ranks"]
    assert [call["input_sizes"] for call in first["collectives"]] == [call["input_sizes"] for call in second["collectives"]]


def test_a_forked_command_ends_with_two_fork_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each rank needs one here; the command waits for both to end. The ranks have the seed of the process that forks them."""
    monkeypatch.delenv("PYTHONHASHSEED")
    result = fakerun("--ranks", "all", "--world-size", "2", PROGRAM)
    assert result.returncode == 0, result.stderr  # not that of the alarm that ends a command that hangs
