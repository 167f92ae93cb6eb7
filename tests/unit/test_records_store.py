"""The records in a run directory: shared parts are stored once, and damaged or missing ones are named."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fakerun.errors import UsageError
from fakerun.records.store import RecordStore
from tests.unit.records_by_hand import llama_8b_rank


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A directory with eight ranks that do the same."""
    store = RecordStore(tmp_path)
    store.begin()
    for rank in range(8):
        store.directory(rank).mkdir()
        store.write(llama_8b_rank(rank))
    return tmp_path


def test_shared_parts_are_stored_once(kept: Path) -> None:
    assert sorted(path.name.split("-")[0] for path in (kept / "shared").iterdir()) == ["groups", "program", "schedule"]
    store = RecordStore(kept)
    records = [store.read(rank) for rank in store.ranks()]
    assert records == [llama_8b_rank(rank) for rank in range(8)]
    assert len({id(record.program) for record in records if record is not None}) == 1


def test_a_renamed_rank_directory_is_ignored(kept: Path) -> None:
    shutil.copytree(kept / "rank-00003", kept / "rank-00003.old")
    assert RecordStore(kept).ranks() == list(range(8))


def schedule(kept: Path) -> Path:
    (path,) = kept.glob("shared/schedule-*")
    return path


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:60])


def record(kept: Path) -> Path:
    return kept / "rank-00003" / "record.json.gz"


def in_its_place(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGE: dict[str, tuple[Callable[[Path], None], Callable[[Path], Path], str]] = {
    "a record cut off": (cut_off, record, "{path}: not a fakerun record (Compressed file ended"),
    "a directory where a record was": (in_its_place, record, "{path}: Is a directory"),
    "a schedule cut off": (cut_off, schedule, "{name}: not a fakerun record (Compressed file ended"),
    "a schedule gone": (Path.unlink, schedule, "{path}: No such file or directory, which a record refers to; run the job again"),
}


@pytest.mark.parametrize(("damage", "which", "message"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_part_is_named(kept: Path, damage: Callable[[Path], None], which: Callable[[Path], Path], message: str) -> None:
    path = which(kept)
    damage(path)
    expected = message.format(path=path, name=path.name.removesuffix(".json.gz"))
    with pytest.raises(UsageError, match="^" + re.escape(expected)):
        RecordStore(kept).read(3)
