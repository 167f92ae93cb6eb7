"""Records many programs in one run of the real torchrun, one after the other.

python -m tests.oracles.torchrun_that_forks --nproc-per-node 4 tests/oracles/recorder_of_many.py OUT_DIR

OUT_DIR/programs.json is a list of {"name", "script", "args", "with_state"}. Each worker forks a child for each, which runs it under the
recorder, as an interpreter of its own would. To the program it looks like an attempt of torchrun's elastic agent, with a fresh store for
what ranks exchange to find each other. A worker that is ahead waits in the next program's init_process_group for the others.

OUT_DIR/NAME/ holds for each rank rank_N.jsonl, its calls as recorder.py writes them, rank_N.log, the program's output, and rank_N.exit,
its exit code or minus the signal that killed it. A program that fails on a rank is killed on the others, and the next one begins.
"""

import atexit
import faulthandler
import gc
import json
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

from torch.distributed import TCPStore  # type: ignore[attr-defined]

from tests.oracles.recorder import record_script

TIMEOUT_S = 60

RANK = int(os.environ["RANK"])
WORLD_SIZE = int(os.environ["WORLD_SIZE"])


def agents_store(timeout_s: float) -> TCPStore:
    return TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False, timeout=timedelta(seconds=timeout_s))


def serve_stores(programs: int) -> None:
    """A store for each program, as torchrun makes one for each attempt, until all ranks are done.

    In a process of its own, because a store has a thread, and in a fork of its process destroying it aborts (torch 2.13).
    """
    stores = [TCPStore(os.environ["MASTER_ADDR"], 0, is_master=True, wait_for_workers=False) for _ in range(programs)]
    agents = agents_store(timeout_s=programs * TIMEOUT_S)
    agents.set("ports", json.dumps([store.port for store in stores]))
    agents.wait([f"rank {rank} is done" for rank in range(WORLD_SIZE)])


def become(program: dict[str, Any], directory: Path, store_port: int) -> NoReturn:
    """In the child: run the program, its output in a file, and end as an interpreter would, less the second of taking everything down."""
    log = os.open(directory / f"rank_{RANK}.log", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ["MASTER_PORT"] = str(store_port)
    faulthandler.dump_traceback_later(TIMEOUT_S - 5)  # so that a program that hangs says where
    calls = directory / f"rank_{RANK}.jsonl"
    code = exit_code(lambda: record_script(calls, program["script"], program["args"], with_state=program["with_state"]))
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def exit_code(run: Callable[[], None]) -> int:
    """What Python's main program would end with."""
    try:
        run()
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def await_exit(pid: int, directory: Path) -> int:
    """The exit code of the child, which is killed when the program has failed on another rank or takes too long."""
    descriptor = os.pidfd_open(pid)
    deadline = time.monotonic() + TIMEOUT_S
    while not select.select([descriptor], [], [], 0.2)[0]:
        if time.monotonic() > deadline or failed_elsewhere(directory):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    os.close(descriptor)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def failed_elsewhere(directory: Path) -> bool:
    return any(file.read_text() != "0" for file in directory.glob("rank_*.exit"))


def write_exit(directory: Path, code: int) -> None:
    """Whole or not at all: other ranks' workers look for it."""
    file = directory / f"rank_{RANK}.exit"
    unfinished = file.with_suffix(".part")
    unfinished.write_text(str(code))
    unfinished.rename(file)


def main() -> None:
    out = Path(sys.argv[1])
    programs = json.loads((out / "programs.json").read_text())
    if RANK == 0 and os.fork() == 0:
        serve_stores(len(programs))
        return
    gc.freeze()  # so that children do not copy what they would only look at
    agents = agents_store(timeout_s=TIMEOUT_S)
    for program, store_port in zip(programs, json.loads(agents.get("ports")), strict=True):
        directory = out / program["name"]
        directory.mkdir(parents=True, exist_ok=True)
        pid = os.fork()
        if pid == 0:
            become(program, directory, store_port)
        write_exit(directory, await_exit(pid, directory))
    agents.set(f"rank {RANK} is done", "")
    if RANK == 0:
        os.wait()


if __name__ == "__main__":
    main()
