"""The records of a run in its directory: one file for each rank, and one for each long part that ranks share.

    run.json                      what is known of the whole run
    rank-00003/record.json.gz     the rank's document
    shared/<name>.json.gz         schedules (schedule-...), device programs (program-...), groups that the script creates (groups-...)

A rank writes its files while it runs, the shared ones first; each appears whole or not at all.
"""

from pathlib import Path

from fakerun.errors import UsageError
from fakerun.files import write_whole
from fakerun.records.codec import RankDecoder, decode_run, encode_rank, encode_run
from fakerun.records.damage import read_recorded
from fakerun.records.run import RankRecord, RunRecord


class RecordStore:
    """The records in the run directory `path`, and the directory of each rank. Parts are read once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._decoder = RankDecoder(lambda name: read_recorded(self._part(name)))

    @property
    def run(self) -> Path:
        return self._path / "run.json"

    @property
    def shared(self) -> Path:
        return self._path / "shared"

    def directory(self, rank: int) -> Path:
        return self._path / f"rank-{rank:05}"

    def record(self, rank: int) -> Path:
        return self.directory(rank) / "record.json.gz"

    def begin(self) -> None:
        """Make what ranks share, before the first of them. One that ends sees files as its script does, which may not see those that
        another rank is making.
        """
        self.shared.mkdir(exist_ok=True)

    def write(self, record: RankRecord) -> None:
        """Write the record into its rank's directory."""
        encoded = encode_rank(record)
        self.begin()  # of a rank without a launcher
        for name, data in encoded.parts.items():
            if not self._part(name).exists():
                write_whole(self._part(name), data)
        write_whole(self.record(record.rank), encoded.document)

    def read(self, rank: int) -> RankRecord | None:
        """The rank's record; None if there is none: the rank was not simulated, or ended before it wrote one.

        Raises:
            UsageError: the file is not a complete record of this version.
        """
        path = self.record(rank)
        try:
            data = read_recorded(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror}") from error
        record = self._decoder.decode(data, source=str(path))
        if record.rank != rank:
            raise UsageError(f"{path}: is the record of rank {record.rank}; run the job again")
        return record

    def write_run(self, run: RunRecord) -> None:
        """Write what is known of the run; its ranks' records are already there."""
        write_whole(self.run, encode_run(run))

    def read_run(self) -> RunRecord:
        """The run with all records in the directory.

        Raises:
            UsageError: there is no run, or it is damaged, or of another version.
        """
        ranks = tuple(record for rank in self.ranks() if (record := self.read(rank)) is not None)
        try:
            data = read_recorded(self.run)
        except OSError as error:
            raise UsageError(f"{self.run}: {error.strerror}; pass the directory you gave to --run-dir") from error
        return decode_run(data, ranks, source=str(self.run))

    def ranks(self) -> list[int]:
        """The ranks that have a record; a directory that a user has renamed (`rank-00003.old`) is not one."""
        names = (path.parent.name.removeprefix("rank-") for path in self._path.glob("rank-*/record.json.gz"))
        return sorted(int(name) for name in names if name.isdecimal())

    def _part(self, name: str) -> Path:
        return self.shared / f"{name}.json.gz"
