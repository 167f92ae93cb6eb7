"""Which files of a git repository changed since a revision."""

import subprocess
from pathlib import Path

from fakerun.errors import UsageError


def changed_files(since: str, directory: Path) -> frozenset[Path]:
    """Resolved paths of the files that differ from the revision in the repository of `directory`, and of new files that are not ignored.

    Raises:
        UsageError: git cannot tell: it is not installed, there is no repository, or no such revision.
    """
    option = f"--changed-since {since}"
    if not since or since.startswith("-"):
        raise UsageError(f"{option}: is not a revision; pass a branch, a tag or a commit, as in origin/main")
    root = Path(_git(directory, option, "rev-parse", "--show-toplevel").rstrip("\n"))
    differ = _git(root, option, "diff", "--name-only", "-z", "--no-renames", since, "--")
    new = _git(root, option, "ls-files", "--others", "--exclude-standard", "-z")
    return frozenset((root / name).resolve() for name in f"{differ}{new}".split("\0") if name)


def _git(directory: Path, option: str, *arguments: str) -> str:
    command = ["git", "-C", str(directory), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, check=False, text=True, errors="surrogateescape")
    except OSError as error:
        raise UsageError(f"{option}: cannot run git: {error.strerror}; install it, or leave the option out") from error
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"git ended with {done.returncode}"])[0].removeprefix("fatal: ")
        raise UsageError(f"{option}: {reason}")
    return done.stdout
