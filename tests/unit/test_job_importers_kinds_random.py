"""No file makes an importer crash, hang, or run anything: it gives jobs that can be written, or a UsageError with a line."""

import os
import random
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest

from fakerun.errors import UsageError
from fakerun.job.importers.imported import ImportedJob
from fakerun.job.importers.kinds import ImportKind, imported_jobs
from fakerun.job.importers.source import Source
from fakerun.job.new_file import imported_file

FILES = [path.read_text() for path in sorted((Path(__file__).parent / "launcher_files").glob("*.*"))]
PIECES = (
    *(
        "'",
        '"',
        "`",
        "$(",
        "${",
        "$((",
        ")",
        "}",
        "((",
        "\\",
        "\\\n",
        "\n",
        "#",
        "&&",
        "||",
        "|",
        ";",
        ";;",
        "<<EOF",
        "<<<",
        ">",
        "(",
        "\t",
    ),
    *("&a", "*a", "!!python/object:os.system", "<<: *a", "- ", ": ", "[", "{", "%", "---\n", "...", "? ", "|\n", "~", "\ufeff", "\x85"),
    *("torchrun", "srun", "python", "accelerate launch", "torchx run dist.ddp", "bash -c", "eval", "--", "-m", "--nnodes=0", "-j 0x0"),
    *("$@", "$#", "$$", "${A[@]}", "${#A}", "$((1/0))", "9" * 40, "-1", "é", "\u202e", "if", "fi", "case x in", "esac", "for", "done"),
)


@pytest.fixture(autouse=True)
def nothing_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **_: Any) -> NoReturn:
        raise AssertionError(f"was run: {args}")

    for owner, name in ((subprocess, "Popen"), (os, "system"), (os, "posix_spawn"), (os, "execve"), (os, "fork")):
        monkeypatch.setattr(owner, name, refuse)


def mutated(rng: random.Random) -> str:
    text = rng.choice(FILES)
    for _ in range(rng.randint(1, 6)):
        start = rng.randrange(len(text) + 1)
        end = min(len(text), start + rng.choice((0, 0, 1, 5, 40)))
        inserted = rng.choice((*PIECES, text[end : end + rng.randint(0, 60)], chr(rng.randrange(1, 0x250))))
        text = text[:start] + inserted + text[end:]
    return text


def texts(seed: int) -> Iterator[str]:
    rng = random.Random(seed)
    for _ in range(40):
        yield mutated(rng)
    for _ in range(20):
        yield "".join(rng.choice((*PIECES, " ", "x", "A=1")) for _ in range(rng.randint(1, 40)))


def jobs_or_refusal(text: str, kind: ImportKind | None) -> tuple[tuple[ImportedJob, ...], str | None]:
    try:
        return imported_jobs(Source(name="file", text=text), kind), None
    except UsageError as error:
        return (), str(error)


@pytest.mark.parametrize("seed", range(4))
def test_any_text_gives_jobs_or_a_usage_error(seed: int) -> None:
    for text in texts(seed):
        for kind in (None, *ImportKind):
            jobs, refusal = jobs_or_refusal(text, kind)
            assert refusal is None or re.match(r"file:[0-9]+: ", refusal), text
            complete = [
                replace(job, script=job.script or (None if job.module else "train.py"), nproc_per_node=job.nproc_per_node or 8)
                for job in jobs
            ]
            assert refusal is not None or imported_file(complete, "file")
