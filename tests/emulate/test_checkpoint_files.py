"""Files of skipped saves, as Python's functions on files show them to the script; and that the user's directories stay as they are."""

import glob
import gzip
import io
import os
import pickle
import posix
import shutil
import socket
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed import checkpoint
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from fakerun.emulate.checkpoints.file_functions import Directories
from fakerun.errors import EmulationGapError
from fakerun.rank.simulation import Simulation
from fakerun.records.unwritten_files import Change
from tests.in_process import Simulate, really

dcp: Any = checkpoint  # it does not mark all that it exports


def state(step: int = 0) -> dict[str, Any]:
    return {"weight": torch.zeros(4, 3, device="cuda"), "step": step, "rng": torch.tensor([step, 7])}


def step_of(path: Path | str) -> int:
    return int(torch.load(path, map_location="cpu")["step"])


@pytest.fixture
def users(tmp_path: Path) -> Path:
    """A directory with two checkpoints from before the run."""
    directory = tmp_path / "runs"
    directory.mkdir()
    for step in (1, 2):
        torch.save({"step": step}, directory / f"step-{step}.pt")
    return directory


# -- looking -----------------------------------------------------------------------------------------------------------


LOOKING: dict[str, Callable[[Path], Any]] = {
    "os.path.exists": os.path.exists,
    "os.path.isfile": os.path.isfile,
    "os.path.getsize": lambda path: os.path.getsize(path) > 0,
    "os.access": lambda path: os.access(path, os.R_OK) and not os.access(path, os.X_OK),
    "Path.exists": Path.exists,
    "Path.is_file": lambda path: path.is_file() and not path.is_dir() and not path.is_symlink(),
    "Path.stat": lambda path: path.stat().st_mtime > 0,
    "open": lambda path: len(path.read_bytes()) == path.stat().st_size,
    "os.listdir": lambda path: path.name in os.listdir(path.parent),
    "os.listdir of the working directory": lambda path: os.listdir() == ["runs"],
    "os.scandir": lambda path: [entry.is_file() for entry in os.scandir(path.parent) if entry.name == path.name] == [True],
    "os.walk": lambda path: path.name in [name for _, _, names in os.walk(path.parent.parent) for name in names],
    "Path.iterdir": lambda path: path in list(path.parent.iterdir()),
    "Path.glob": lambda path: list(path.parent.glob("step-[0-9]*.pt")) == [path],
    "Path.rglob": lambda path: path in list(path.parent.parent.rglob("*.pt")),
    "glob": lambda path: glob.glob(str(path.parent / "step-*")) == [str(path)],
    "torch.load of an open file": lambda path: torch.load(path.open("rb"))["step"] == 3,
    "torch.load of its bytes": lambda path: torch.load(io.BytesIO(path.read_bytes()))["step"] == 3,
    "torch.load of a relative path": lambda path: torch.load(os.path.relpath(path), mmap=True)["step"] == 3,
}


@pytest.mark.parametrize("look", LOOKING.values(), ids=LOOKING.keys())
def test_a_skipped_save_is_seen(
    look: Callable[[Path], Any], tmp_path: Path, simulation: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    directory = tmp_path / "runs"
    directory.mkdir()
    torch.save(state(3), directory / "step-3.pt")
    assert look(directory / "step-3.pt") is True
    assert really(directory) == {}


def test_what_is_not_there_is_missed_as_ever(tmp_path: Path, simulation: Simulation) -> None:
    torch.save(state(), tmp_path / "there.pt")
    path = tmp_path / "missing.pt"
    assert not path.exists()
    for use in (torch.load, os.stat, os.listdir, os.remove, os.rmdir, shutil.rmtree, open, os.readlink):
        with pytest.raises(FileNotFoundError) as caught:
            use(path)
        assert str(caught.value.filename) == str(path)
    for move in (os.rename, os.replace, shutil.copy, shutil.move):
        with pytest.raises(FileNotFoundError):
            move(path, tmp_path / "elsewhere.pt")
    with pytest.raises(FileNotFoundError):
        os.replace(tmp_path / "there.pt", tmp_path / "none" / "there.pt")
    assert step_of(tmp_path / "there.pt") == 0


# -- moving, copying, removing -----------------------------------------------------------------------------------------


def test_checkpoints_are_rotated_without_touching_those_from_before(users: Path, simulate: Simulate) -> None:
    before = really(users)
    simulate()
    for step in (3, 4):
        torch.save(state(step), users / "new.tmp")
        os.replace(users / "new.tmp", users / f"step-{step}.pt")
        for old in sorted(users.glob("step-*.pt"))[:-2]:
            old.unlink()
    assert [path.name for path in sorted(users.iterdir())] == ["step-3.pt", "step-4.pt"]
    assert not (users / "step-1.pt").exists()
    with pytest.raises(FileNotFoundError):
        torch.load(users / "step-1.pt")
    assert really(users) == before


def test_a_file_from_before_is_hidden_by_a_save_and_moved_in_the_run_only(users: Path, simulate: Simulate) -> None:
    before = really(users)
    simulate()
    os.replace(users / "step-1.pt", users / "backup.pt")
    torch.save(state(9), users / "step-2.pt")
    assert (step_of(users / "backup.pt"), step_of(users / "step-2.pt")) == (1, 9)
    assert sorted(os.listdir(users)) == ["backup.pt", "step-2.pt"]
    (users / "step-2.pt").unlink()
    assert not (users / "step-2.pt").exists()
    shutil.rmtree(users)
    assert not users.exists()
    users.mkdir()
    assert os.listdir(users) == []
    assert really(users) == before


def test_files_of_this_run_are_moved_and_removed(tmp_path: Path, simulation: Simulation) -> None:
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "a.txt").write_text("x")
    torch.save(state(1), tmp_path / "log" / "model.pt")
    (tmp_path / "log").rename(tmp_path / "log2")
    assert sorted(os.listdir(tmp_path / "log2")) == ["a.txt", "model.pt"]
    assert not (tmp_path / "log").exists()
    assert really(tmp_path / "log2") == {"a.txt": b"x"}
    shutil.copytree(tmp_path / "log2", tmp_path / "log3")
    assert step_of(tmp_path / "log3" / "model.pt") == 1
    with pytest.raises(OSError, match="not empty"):
        (tmp_path / "log2").rmdir()
    for directory in ("log2", "log3"):
        shutil.rmtree(tmp_path / directory)
    assert os.listdir(tmp_path) == []
    assert really(tmp_path) == {}


def test_links_to_the_latest(tmp_path: Path, simulation: Simulation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("step-1").mkdir()
    torch.save(state(1), "step-1/model.pt")
    os.symlink("step-1", "latest")
    assert (os.readlink("latest"), os.path.islink("latest"), Path("latest").is_dir()) == ("step-1", True, True)
    assert step_of("latest/model.pt") == 1
    assert Path("latest/model.pt").resolve() == tmp_path / "step-1" / "model.pt"
    with pytest.raises(FileExistsError):
        os.symlink("step-1", "latest")
    os.unlink("latest")
    assert not os.path.lexists("latest")
    os.link("step-1/model.pt", "copy.pt")
    shutil.copy2("copy.pt", "again.pt")
    assert (step_of("copy.pt"), step_of("again.pt")) == (1, 1)
    assert really(tmp_path) == {"step-1": b""}


def test_an_ordinary_file_takes_the_place_of_a_skipped_save(tmp_path: Path, simulation: Simulation) -> None:
    path = tmp_path / "state"
    torch.save(state(), path)
    with pytest.raises(FileExistsError):
        path.open("x")
    path.write_text("ordinary")
    assert path.read_text() == "ordinary"
    assert really(tmp_path) == {"state": b"ordinary"}


# -- what the script made, and what it did not -------------------------------------------------------------------------


def by_another_process(path: Path, content: bytes = b"of a training") -> None:
    """Write a file as a process does that the simulation knows nothing of, during the run."""
    descriptor = posix.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.write(descriptor, content)
    os.close(descriptor)


def replaced(path: Path) -> None:
    """Replace the file by a new one, as another process does."""
    by_another_process(path.with_name("new"))
    posix.replace(path.with_name("new"), path)


def made_again(path: Path) -> None:
    """Remove the file and make one, as another process does: it gets the same inode on most file systems."""
    made_ns = os.stat(path).st_ctime_ns
    posix.unlink(path)
    by_another_process(path)
    while os.stat(path).st_ctime_ns <= made_ns:  # the clock of files is coarse
        posix.unlink(path)
        by_another_process(path)


def move_new(path: Path, write: Callable[[Path], Any] = Path.touch) -> None:
    """Write a file as careful scripts do."""
    write(path.with_name("tmp"))
    os.replace(path.with_name("tmp"), path)


def remove_and_move_new(path: Path) -> None:
    path.unlink()
    move_new(path)


RIDS: dict[str, Callable[[Path], Any]] = {
    "os.remove": lambda path: os.remove(path),  # as it is then
    "Path.unlink": Path.unlink,
    "os.rename": lambda path: os.rename(path, path.with_name("away")),
    "shutil.move": lambda path: shutil.move(path, path.with_name("away")),
    "os.replace of another one": lambda path: move_new(path),
    "os.rename to where it was": lambda path: remove_and_move_new(path),
    "a save to another one": lambda path: move_new(path, lambda tmp: torch.save(state(), tmp)),
    "torch.save": lambda path: torch.save({"step": 1}, path),
    "torch.save to an open file": lambda path: torch.save(state(), path.open("wb")),
    "shutil.rmtree": lambda path: shutil.rmtree(path.parent),
    "shutil.move of the directory": lambda path: shutil.move(path.parent, path.parent.with_name("elsewhere")),
    "os.rename of the directory": lambda path: os.rename(path.parent, path.parent.with_name("elsewhere")),
}


@pytest.mark.parametrize("rid", RIDS.values(), ids=RIDS.keys())
def test_what_another_process_makes_during_the_run_stays(rid: Callable[[Path], Any], tmp_path: Path, simulation: Simulation) -> None:
    directory = tmp_path / "runs"
    directory.mkdir()
    (directory / "log.txt").write_text("of the script")
    by_another_process(directory / "step-1.pt")
    rid(directory / "step-1.pt")
    assert really(directory)["step-1.pt"] == b"of a training"
    assert not really(directory).keys() & {"tmp", "away"}


@pytest.mark.parametrize("replace", [replaced, made_again])
@pytest.mark.parametrize("rid", RIDS.values(), ids=RIDS.keys())
def test_what_takes_the_place_of_a_file_of_the_script_stays(
    rid: Callable[[Path], Any], replace: Callable[[Path], None], tmp_path: Path, simulation: Simulation
) -> None:
    directory = tmp_path / "runs"
    directory.mkdir()
    (directory / "step-1.pt").write_text("of the script")
    replace(directory / "step-1.pt")
    rid(directory / "step-1.pt")
    assert really(directory)["step-1.pt"] == b"of a training"


MAKERS: dict[str, Callable[[Path], Any]] = {
    "open": lambda path: path.write_text("x"),
    "open to append": lambda path: path.open("a").close(),
    "open exclusively": lambda path: path.open("x").close(),
    "open of bytes": lambda path: path.write_bytes(b"x"),
    "open to update": lambda path: path.open("w+b").close(),
    "open with an opener": lambda path: open(path, "w", opener=lambda name, flags: os.open(name, flags)).close(),
    "os.open": lambda path: os.close(os.open(path, os.O_WRONLY | os.O_CREAT)),
    "Path.touch": Path.touch,
    "tempfile.mkstemp": lambda path: os.rename(tempfile.mkstemp(dir=path.parent)[1], path),
    "os.replace": lambda path: move_new(path),
    "shutil.copy": lambda path: shutil.copy(path.parent.with_name("users"), path),
    "np.save": lambda path: np.save(path.open("wb"), np.zeros(3)),
    "np.memmap": lambda path: np.memmap(path, mode="w+", shape=3),
    "gzip.open": lambda path: gzip.open(path, "wb").close(),
    "torch.save": lambda path: torch.save({"step": 1}, path),
    "os.symlink": lambda path: os.symlink("elsewhere", path),
    "os.link": lambda path: os.link(path.parent.with_name("users"), path),
    "os.mkfifo": lambda path: os.mkfifo(path),
    "socket.bind": lambda path: bind(path),
}


def bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
def test_what_the_script_makes_is_really_moved_and_removed(make: Callable[[Path], Any], tmp_path: Path, simulate: Simulate) -> None:
    (tmp_path / "users").write_text("x")
    directory = tmp_path / "runs"
    simulate()
    with tempfile.TemporaryDirectory(dir=tmp_path):
        directory.mkdir()
        make(directory / "a")
        os.rename(directory / "a", directory / "b")
        assert posix.listdir(directory) == ["b"]
        os.remove(directory / "b")
        assert posix.listdir(directory) == []
        make(directory / "a")
        os.rename(directory, tmp_path / "moved")
        shutil.rmtree(tmp_path / "moved")
    assert really(tmp_path) == {"users": b"x"}


def test_a_directory_with_files_of_both_is_moved_and_removed_in_the_run_only(tmp_path: Path, simulation: Simulation) -> None:
    directory = tmp_path / "runs"
    directory.mkdir()
    (directory / "log.txt").write_text("of the script")
    by_another_process(directory / "step-1.pt")
    os.rename(directory, tmp_path / "old")
    assert not directory.exists()
    assert sorted(os.listdir(tmp_path / "old")) == ["log.txt", "step-1.pt"]
    assert (tmp_path / "old" / "step-1.pt").read_bytes() == b"of a training"
    shutil.rmtree(tmp_path / "old")
    assert os.listdir(tmp_path) == []
    assert really(directory)["step-1.pt"] == b"of a training"


def test_of_a_directory_with_files_of_both_those_of_the_script_are_removed(tmp_path: Path, simulation: Simulation) -> None:
    directory = tmp_path / "runs"
    (directory / "within").mkdir(parents=True)
    (directory / "within" / "log.txt").write_text("of the script")
    by_another_process(directory / "step-1.pt")
    shutil.rmtree(directory)
    assert not directory.exists()
    assert really(directory) == {"step-1.pt": b"of a training"}


def test_a_file_takes_the_place_of_one_that_the_script_did_not_make_in_the_run_only(users: Path, simulate: Simulate) -> None:
    before = really(users)
    simulate()
    for content in ("first", "second"):
        (users / "tmp").write_text(content)
        os.replace(users / "tmp", users / "step-1.pt")
        assert (users / "step-1.pt").read_text() == content
    assert sorted(os.listdir(users)) == ["step-1.pt", "step-2.pt"]
    assert really(users) == before


def test_a_name_that_the_script_gives_to_a_file_of_the_users_is_the_scripts(users: Path, simulate: Simulate) -> None:
    before = really(users)
    simulate()
    os.link(users / "step-1.pt", users / "latest")
    os.remove(users / "latest")
    os.symlink("step-1.pt", users / "latest")
    os.remove(users / "latest")
    os.link(users / "step-1.pt", users / "latest")
    os.remove(users / "step-1.pt")
    assert really(users).keys() == {*before, "latest"}


def test_what_a_child_process_makes_is_the_scripts(tmp_path: Path, simulation: Simulation) -> None:
    child = os.fork()
    if child == 0:
        (tmp_path / "of-the-child").touch()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    os.remove(tmp_path / "of-the-child")
    assert really(tmp_path) == {}


def test_a_move_that_the_system_refuses_fails_whoever_made_what_is_there(users: Path, simulate: Simulate) -> None:
    simulate()
    (users / "file").touch()
    (users / "directory").mkdir()
    with pytest.raises(IsADirectoryError):
        os.rename(users / "file", users / "directory")
    with pytest.raises(NotADirectoryError):
        os.rename(users / "directory", users / "step-1.pt")
    with pytest.raises(OSError, match="not empty"):
        os.rename(users / "directory", users)
    os.rename(users / "file", users / "file")
    assert (users / "file").exists()


# -- what is in them ---------------------------------------------------------------------------------------------------


def test_values_on_the_host_are_those_when_it_was_saved(tmp_path: Path, simulation: Simulation) -> None:
    host = torch.arange(3)
    random: dict[str, Any] = {"torch": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all()}
    saved = {"host": host, "nested": [(1, {"lr": 0.1})], "random": random, "kind": nn.Linear, "model": nn.Linear(2, 2).cuda()}
    torch.save(saved, tmp_path / "all.pt")
    host.fill_(9)
    loaded = torch.load(tmp_path / "all.pt", weights_only=False)
    assert loaded["host"].tolist() == [0, 1, 2]
    assert loaded["nested"] == [(1, {"lr": 0.1})]
    assert torch.equal(loaded["random"]["torch"], random["torch"])
    assert loaded["kind"] is nn.Linear
    assert loaded["model"].weight.is_cuda
    assert isinstance(loaded["model"].weight, nn.Parameter)


def test_a_large_host_tensor_has_its_shape_only_and_a_note_says_so(tmp_path: Path, simulation: Simulation) -> None:
    large = torch.from_numpy(np.ones(5 * 2**20, dtype="float32"))
    torch.save({"large": large, "weight": torch.ones(2, device="cuda")}, tmp_path / "large.pt")
    loaded = torch.load(tmp_path / "large.pt")
    assert (loaded["large"].shape, loaded["large"].device.type) == (large.shape, "cpu")
    (note,) = [finding.message for finding in simulation.record(None).findings if "shapes only" in finding.message]
    assert note.endswith("large.pt holds shapes only of 1 host tensors above 16.0 MiB: what is loaded from it has no values.")


def test_large_models_leave_small_files(tmp_path: Path, simulation: Simulation) -> None:
    torch.save({str(i): torch.empty(8192, 8192, device="cuda") for i in range(64)}, tmp_path / "model.pt")
    assert (tmp_path / "model.pt").stat().st_size < 64 * 1024


def test_a_distributed_tensor_is_loaded_with_its_placement(tmp_path: Path, simulation: Simulation) -> None:
    dist.init_process_group("nccl")
    mesh = dist.device_mesh.init_device_mesh("cuda", (2,))
    torch.save({"weight": distribute_tensor(torch.empty(8, 4, device="cuda"), mesh, [Shard(0)])}, tmp_path / "shards.pt")
    weight = torch.load(tmp_path / "shards.pt", weights_only=False)["weight"]
    assert isinstance(weight, DTensor)
    assert (weight.shape, weight.placements, weight.to_local().shape) == ((8, 4), (Shard(0),), (4, 4))


def test_without_map_location_tensors_go_where_they_were_saved_from(tmp_path: Path, simulate: Simulate) -> None:
    simulate(rank=1)
    torch.cuda.set_device(1)
    torch.save(torch.empty(2**20, device="cuda:0"), tmp_path / "model.pt")
    before = torch.cuda.memory_allocated(0), torch.cuda.memory_allocated(1)
    loaded = torch.load(tmp_path / "model.pt")
    after = torch.cuda.memory_allocated(0), torch.cuda.memory_allocated(1)
    assert loaded.device == torch.device("cuda:0")
    assert (after[0] - before[0], after[1] - before[1]) == (4 * 2**20, 0)


def test_what_holds_bytes_holds_the_stand_in(tmp_path: Path, simulation: Simulation) -> None:
    buffer = io.BytesIO()
    torch.save(state(5), buffer)
    (tmp_path / "sent.pt").write_bytes(buffer.getvalue())
    assert step_of(tmp_path / "sent.pt") == 5
    with tempfile.NamedTemporaryFile(dir=tmp_path, delete=False) as temporary:
        temporary.write(buffer.getvalue())
    os.replace(temporary.name, tmp_path / "moved.pt")
    assert step_of(tmp_path / "moved.pt") == 5
    assert really(tmp_path) == {}
    with gzip.open(tmp_path / "model.pt.gz", "wb") as file:
        torch.save(state(6), cast("IO[bytes]", file))
    with gzip.open(tmp_path / "model.pt.gz", "rb") as file:
        assert torch.load(cast("IO[bytes]", file))["step"] == 6


def test_a_file_is_emptied_by_what_is_written_to_it(tmp_path: Path, simulate: Simulate) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")
    simulate()
    buffer = io.BytesIO()
    torch.save(state(5), buffer)
    with path.open("wb") as file:
        file.write(buffer.getvalue()[:100])
        file.write(buffer.getvalue()[100:])
    assert (step_of(path), really(tmp_path)) == (5, {"file": b"before"})
    written: list[tuple[Callable[[Any], Any], bytes]] = [
        (lambda file: file.write(b"new"), b"new"),
        (lambda file: None, b""),
        (lambda file: file.writelines([b"a", b"b"]), b"ab"),
        (lambda file: os.write(file.fileno(), b"raw"), b"raw"),
        (lambda file: np.arange(2, dtype="uint8").tofile(file), b"\0\1"),
        (lambda file: (file.seek(2), file.write(b"x")), b"\0\0x"),
        (lambda file: pickle.dump(1, file), pickle.dumps(1)),
    ]
    for write, content in written:
        with open(path, "wb") as file:
            write(file)
        assert path.read_bytes() == content
        assert really(tmp_path) == {"file": content}
    with open(os.devnull, "wb") as file:
        file.write(b"x")


# -- torch.distributed.checkpoint --------------------------------------------------------------------------------------


class Counter:
    """A `Stateful` of the script's."""

    def __init__(self) -> None:
        self.steps = 0

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps = state["steps"]


def test_a_sharded_checkpoint_of_this_run_is_whole_and_is_loaded(tmp_path: Path, simulation: Simulation) -> None:
    dist.init_process_group("cpu:gloo,cuda:nccl")
    model = nn.Linear(8, 8).cuda()
    torch.distributed.fsdp.fully_shard(model)
    optimizer = torch.optim.AdamW(model.parameters())
    counter = Counter()
    counter.steps = 4
    saved = {"model": model.state_dict(), "counter": counter, "lr": 0.5, "rng": torch.arange(4), "groups": optimizer.state_dict()}
    directory = tmp_path / "sharded"
    dcp.async_save(saved, storage_writer=dcp.FileSystemWriter(directory)).result()
    assert sorted(path.name for path in directory.iterdir()) == [".metadata", "__0_0.distcp"]
    metadata = pickle.loads((directory / ".metadata").read_bytes())
    assert metadata.state_dict_metadata["model.weight"].size == (8, 8)
    assert dcp.FileSystemReader(directory).read_metadata().state_dict_metadata.keys() == metadata.state_dict_metadata.keys()
    counter.steps = 0
    asked: dict[str, Any] = {"model": model.state_dict(), "counter": counter, "lr": 0.0, "rng": torch.zeros(4, dtype=torch.int64)}
    dcp.load(asked, checkpoint_id=directory)
    assert (counter.steps, asked["lr"], asked["rng"].tolist(), asked["counter"]) == (4, 0.5, [0, 1, 2, 3], counter)
    (directory / "config.json").write_text("{}")
    assert (directory / "config.json").read_text() == "{}"
    assert really(directory) == {"config.json": b"{}"}


# -- waiting -----------------------------------------------------------------------------------------------------------


def test_waiting_for_a_file_that_nobody_writes_ends(tmp_path: Path, simulation: Simulation) -> None:
    def wait() -> None:
        while not (tmp_path / "never.pt").exists():
            time.sleep(0)

    with pytest.raises(EmulationGapError, match=r"^Waiting for .*never.pt is not emulated: the script has looked for it 100 times"):
        wait()


def test_the_file_of_a_rank_that_is_not_simulated_is_named(tmp_path: Path, simulation: Simulation) -> None:
    dist.init_process_group("nccl")
    torch.save(state(), tmp_path / "rank-0.pt")
    dist.barrier()
    assert not (tmp_path / "rank-1.pt").exists()
    with pytest.raises(EmulationGapError, match=r"^Reading .*rank-1.pt, which no simulated rank has saved, is not emulated"):
        torch.load(tmp_path / "rank-1.pt")
    with pytest.raises(FileNotFoundError):
        (tmp_path / "data.csv").read_text()


# -- at the same time --------------------------------------------------------------------------------------------------


class _WhileAPeerMakesIt:
    """An overlay in which nothing is changed, while a peer that is further on makes the directory."""

    is_real = False

    def __init__(self, *, is_by_peer: bool) -> None:
        self.is_by_peer = is_by_peer
        self.changed: list[str] = []

    def place(self, path: str) -> str:
        return path

    def entry(self, path: str) -> None:
        """Nothing is known of the path."""

    def has_no_parent(self, place: str) -> bool:
        return False

    def is_directory(self, path: str) -> bool:
        return False

    def real(self) -> AbstractContextManager[None]:
        return nullcontext()

    def is_yet_to_be_made(self, directory: str) -> bool:
        return self.is_by_peer

    def expect(self, place: str) -> None:
        """Nothing is noted."""

    def making(self, place: str) -> AbstractContextManager[None]:
        return nullcontext()

    def has_no_real(self, place: str) -> bool:
        return False

    def change(self, path: str, change: Change) -> None:
        self.changed.append(path)


@pytest.mark.parametrize("is_by_peer", [True, False])
def test_a_directory_that_appears_while_it_is_made(tmp_path: Path, *, is_by_peer: bool) -> None:
    """A peer's, which this rank would not see yet, is this rank's, too; what anybody else makes there is in the way."""

    def mkdir_after_the_peer(path: str) -> None:
        os.mkdir(path)
        os.mkdir(path)

    overlay: Any = _WhileAPeerMakesIt(is_by_peer=is_by_peer)
    mkdir = Directories(overlay).making(mkdir_after_the_peer)
    place = str(tmp_path / "step-1")
    with nullcontext() if is_by_peer else pytest.raises(FileExistsError):
        mkdir(place)
    assert overlay.changed == [place] * is_by_peer
