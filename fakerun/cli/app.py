"""The entry point of the command: the group of subcommands, and the message and exit code of anything that goes wrong."""

import errno
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

import fakerun
from fakerun.cli.check import check
from fakerun.cli.compare import compare
from fakerun.cli.grammar import BriefCommand, CommandWithVariables, DefaultCommandGroup, ProgramCommand, either_spelling
from fakerun.cli.help import FullHelp
from fakerun.cli.init import init
from fakerun.cli.report import report
from fakerun.cli.run import run
from fakerun.cli.schema import schema
from fakerun.cli.terminal import be_quiet, give_up, occupy_closed_streams, say
from fakerun.errors import ExitCode, FakerunError

app = typer.Typer(
    cls=DefaultCommandGroup,
    context_settings={"help_option_names": ["-h", "--help"], "token_normalize_func": either_spelling},
    # Plain lines: they can be grepped, they are the same in every terminal, and rich costs more than the rest of the start.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command(cls=ProgramCommand)(run)
app.command(cls=CommandWithVariables)(check)
app.command(cls=BriefCommand)(report)
app.command(cls=BriefCommand)(compare)
app.command(cls=BriefCommand)(init)
app.command(cls=BriefCommand)(schema)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fakerun {fakerun.__version__}")
        raise typer.Exit


@app.callback()
def group(
    version: Annotated[
        bool, typer.Option("-V", "--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    help_all: FullHelp = False,
) -> None:
    """Dry-run a distributed PyTorch job without a GPU: its collectives, its memory, and whether its ranks agree.

    SCRIPT is an unmodified CUDA script in Python, or a job in YAML. If it comes first, the options after it are fakerun's until `--`. If an
    option comes first, everything after SCRIPT is passed to the script, as torchrun does: replace the word `torchrun` by `fakerun`.
    """


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command on `argv` (by default the process's own) and return its exit code."""
    occupy_closed_streams()
    _terminate_like_interrupt()
    command = typer.main.get_command(app)
    try:
        code = command.main(args=argv, prog_name="fakerun", standalone_mode=False)
    except FakerunError as error:
        return _failed(str(error), error.exit_code)
    except typer.TyperException as error:  # the command line could not be parsed
        return _failed(_with_help(error), ExitCode.USAGE)
    except (KeyboardInterrupt, typer.Abort):  # typer makes the one of the other
        return _failed("interrupted", ExitCode.INTERRUPTED)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            return _internal_error(error)
        return _failed(f"{_named(error)}: {error.strerror}; free some space, or write elsewhere", ExitCode.USAGE)
    except Exception as error:
        return _internal_error(error)
    finally:
        be_quiet(False)
    return int(code or ExitCode.OK)


def _with_help(error: typer.TyperException) -> str:
    """The message; of a word that is missing also where it is described."""
    message = error.format_message()
    context = getattr(error, "ctx", None)
    if context is None or not message.startswith("Missing argument"):
        return message
    return f"{message.replace('Missing', 'missing').rstrip('.')}; see {context.command_path} --help"


_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""A full disk, a user's share of it, and the limit on the size of a file (`ulimit -f`)."""


def _named(error: OSError) -> str:
    """What could not be written; only stdout has no name: help and version are written there."""
    if error.filename is None and sys.stdout is not None:
        give_up(sys.stdout)
    return str(error.filename or "standard output")


def _terminate_like_interrupt() -> None:
    """SIGTERM, from a scheduler or timeout(1), is a Ctrl-C: the run is reported, and no rank is left behind."""
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, signal.default_int_handler)


def _internal_error(error: Exception) -> int:
    if sys.stderr is not None:
        traceback.print_exception(error)
    kept = "".join(f"; {note}" for note in getattr(error, "__notes__", ()))
    return _failed(f"internal error in fakerun; please report it with the traceback above{kept}", ExitCode.INTERNAL)


def _failed(message: str, code: ExitCode) -> int:
    for line in message.splitlines():
        say(f"error: {line}")
    return code


if __name__ == "__main__":
    sys.exit(main())
