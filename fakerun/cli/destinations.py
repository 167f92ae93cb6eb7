"""Where reports go: `-o FILE`, `--output FORMAT=FILE`, `--format NAME`. Refuses what could not be written, before the run."""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from fakerun.cli.terminal import stdout_is_terminal
from fakerun.errors import UsageError
from fakerun.spelling import did_you_mean

if TYPE_CHECKING:
    from fakerun.report import ReportFormat

_DEFAULT_FORMAT = "table"
_STDOUT = "-"
_DEVICES = Path("/dev")


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """A format, and the file that it goes to, or the directory if it has several files; None for stdout."""

    report_format: "ReportFormat"
    path: Path | None
    is_directory: bool = False


Destinations: TypeAlias = tuple[Destination, ...]


def destinations(format_name: str | None, outputs: Sequence[str] | None, *, inputs: Iterable[Path | str | None] = ()) -> Destinations:
    """Where reports go, in the order of the options. `--format` is the format of outputs that name none, of stdout if there is none.

    Raises:
        UsageError: an output is refused by `check_output`; names no format, or one that does not exist; is named twice; or a binary
            format would go to a terminal.
    """
    asked = [_format_and_path(text) for text in outputs or ()]
    if not asked or (format_name is not None and all(name is not None for name, _ in asked)):
        asked.append((None, None))
    inputs = tuple(inputs)
    found: list[Destination] = []
    for name, path in asked:
        is_directory = path is not None and _names_a_directory(path) and _has_several_files(name or format_name)
        if path is not None:
            (check_directory if is_directory else partial(check_output, inputs=inputs))(path)
            if any(each.path is not None and _are_one_path(path, each.path) for each in found):
                raise UsageError(f"output {path}: is named twice; each format needs a file of its own")
        found.append(Destination(report_format=_renderer_for(name or format_name, path), path=path, is_directory=is_directory))
    return tuple(found)


def _has_several_files(name: str | None) -> bool:
    from fakerun.report import FORMATS

    return name is not None and name in FORMATS and FORMATS[name].render_files is not None


def _format_and_path(text: str) -> tuple[str | None, Path | None]:
    """What `FILE`, `FORMAT`, `FORMAT=FILE` or `-` asks for."""
    from fakerun.report import FORMATS

    if text in FORMATS:
        return text, None
    name, equals, file = text.partition("=")
    if not equals or not re.fullmatch("[A-Za-z_]+", name):
        return None, None if text == _STDOUT else Path(text)
    if name not in FORMATS:
        known = f"{_unknown_format(name)}; if {text} is the name of a file, pass ./{text}"
        raise UsageError(f"output {text}: {known}")
    if not file:
        raise UsageError(f"output {text}: names no file; pass {name}={name}.{FORMATS[name].extension}, or {name} alone for stdout")
    return name, None if file == _STDOUT else Path(file)


def _names_a_directory(path: Path) -> bool:
    """One that is there, or a name without an ending."""
    return path.is_dir() or not (path.suffix or path.exists())


def _are_one_path(path: Path, other: Path) -> bool:
    return path.resolve() == other.resolve() and (path.is_file() or not path.exists())


def _unknown_format(name: str) -> str:
    from fakerun.report import FORMATS

    return f"unknown format {name!r}{did_you_mean(name, FORMATS)}; known: {', '.join(FORMATS)}"


def _renderer_for(name: str | None, output: Path | None) -> "ReportFormat":
    """The format that is asked for, else the one that OUTPUT is named for."""
    from fakerun.report import FORMATS

    if name is None:
        return _format_of(output) if output is not None and output.suffix else FORMATS[_DEFAULT_FORMAT]
    if name not in FORMATS:
        raise UsageError(_unknown_format(name))
    report_format = FORMATS[name]
    if report_format.is_binary and _is_terminal(output):
        example = f"-o {report_format.name}.{report_format.extension}"
        raise UsageError(f"format {name} is binary and is not written to a terminal; write it to a file, as in {example}")
    return report_format


def _is_terminal(output: Path | None) -> bool:
    """Whether OUTPUT, or stdout without it, is one."""
    if output is None or not output.is_char_device():
        return output is None and stdout_is_terminal()
    try:
        with output.open("wb", buffering=0) as device:
            return device.isatty()
    except OSError:  # what is wrong with it is said where the report is written
        return False


def _format_of(output: Path) -> "ReportFormat":
    """The first format whose files end as this one does."""
    from fakerun.report import FORMATS

    extension = output.suffix.removeprefix(".")
    for report_format in FORMATS.values():
        if report_format.extension == extension:
            return report_format
    known = ", ".join(dict.fromkeys(f".{each.extension}" for each in FORMATS.values()))
    raise UsageError(f"output {output}: no format has the ending .{extension}; known: {known}; or choose one with --format")


def check_not_inputs(destinations: Destinations, inputs: Iterable[Path | str | None]) -> None:
    """As `check_output`, of inputs that are known only now: the script that a job file names.

    Raises:
        UsageError: a report would replace one.
    """
    inputs = tuple(inputs)
    for each in destinations:
        if each.path is not None and not each.is_directory:
            check_output(each.path, inputs=inputs)


def check_output(path: Path, *, inputs: Iterable[Path | str | None] = ()) -> None:
    """Refuse a file that could not be written after a run that may take minutes, or must not be: one of `inputs`, or a link.

    Raises:
        UsageError: an input, a link, a directory, or in a directory that is not there or cannot be written to.
    """
    if path.is_dir():
        raise UsageError(f"output {path}: is a directory; pass a file in it, as in {path / 'report.json'}")
    if path.exists() and not path.is_file():
        return  # a device or a pipe is written to, not replaced
    if any(each is not None and _are_one_file(path, Path(each)) for each in inputs):
        raise UsageError(f"output {path}: is the script or the job file, which the report would replace; pass another file")
    if path.is_symlink() and _DEVICES not in path.parents:  # but /dev/stdout
        raise UsageError(f"output {path}: is a symbolic link, which the report would replace; pass the file it leads to: {path.resolve()}")
    if not path.parent.is_dir():
        raise UsageError(f"output {path}: no such directory: {path.parent}; create it first")
    if not os.access(path.parent, os.W_OK):
        raise UsageError(f"output {path}: directory {path.parent} is not writable; pass a file in another one")


def check_directory(path: Path) -> None:
    """Refuse a directory that files could not be written to; it is made if it is not there.

    Raises:
        UsageError: it cannot be written to, or cannot be made.
    """
    if not path.is_dir() and not path.parent.is_dir():
        raise UsageError(f"output {path}: no such directory: {path.parent}; create it first")
    if not os.access(path if path.is_dir() else path.parent, os.W_OK):
        raise UsageError(f"output {path}: the directory is not writable; pass another one")


def _are_one_file(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except (OSError, ValueError):  # one of them is not there, or cannot be
        return False


def check_takes_several(destinations: Destinations, number: int) -> None:
    """Refuse a format that shows one job, where there are more.

    Raises:
        UsageError: a report of all of them cannot be written in it.
    """
    from fakerun.report import FORMATS

    for each in destinations:
        if number > 1 and not each.report_format.takes_several_jobs:
            several = ", ".join(name for name, known in FORMATS.items() if known.takes_several_jobs)
            raise UsageError(f"format {each.report_format.name} shows one job, and there are {number}; name one, or use one of {several}")
