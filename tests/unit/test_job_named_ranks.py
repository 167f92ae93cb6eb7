"""Ranks that a script names, found in its comparisons."""

from pathlib import Path

import pytest

from fakerun.job.named_ranks import NamedRank, named_ranks


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("if rank == 3: pass", [("", 3)]),
        ("if dist.get_rank() == 3: pass", [("", 3)]),
        ("if 7 != self.global_rank: pass", [("", 7)]),
        ("if rank in (0, 4): pass", [("", 0), ("", 4)]),
        ("if local_rank == 0: pass", [("local", 0)]),
        ("if args.tp_rank == 1 and rank < 8: pass", [("", 8), ("tp", 1)]),
        ("if parallel.tp.get_local_rank() == 2: pass", [("local", 2)]),
        ("if rank == world_size - 1: pass", []),
        ("if step == 3: pass", []),
        ("if frank == 3: pass", []),
        ("if rank == True: pass", []),
        ("if rank ==: pass", []),
    ],
)
def test_named(tmp_path: Path, line: str, found: list[tuple[str, int]]) -> None:
    script = tmp_path / "train.py"
    script.write_text(line)
    assert named_ranks(script) == tuple(NamedRank(axis, number) for axis, number in found)


def test_a_missing_script_names_no_ranks(tmp_path: Path) -> None:
    assert named_ranks(tmp_path / "absent.py") == ()
