"""The entry point of the command: the group of subcommands, and the message and exit code of anything that goes wrong."""

import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

import fakerun
from fakerun.cli.grammar import DefaultCommandGroup, ProgramCommand, either_spelling
from fakerun.cli.report import report
from fakerun.cli.run import run
from fakerun.cli.terminal import say
from fakerun.errors import ExitCode, FakerunError

app = typer.Typer(
    cls=DefaultCommandGroup,
    context_settings={"help_option_names": ["-h", "--help"], "token_normalize_func": either_spelling},
    # Plain lines: they can be grepped, they are the same in every terminal, and rich costs more than the rest of the start.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command(cls=ProgramCommand)(run)
app.command()(report)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fakerun {fakerun.__version__}")
        raise typer.Exit


@app.callback()
def group(
    version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")] = False,
) -> None:
    """Dry-run a distributed PyTorch job without a GPU: its collectives, its memory, and whether its ranks agree.

    SCRIPT is an unmodified CUDA script in Python, or a job in YAML. If it comes first, the options after it are fakerun's until `--`. If an
    option comes first, everything after SCRIPT is passed to the script, as torchrun does: replace the word `torchrun` by `fakerun`.
    """


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command on `argv` (by default the process's own) and return its exit code."""
    command = typer.main.get_command(app)
    try:
        code = command.main(args=argv, prog_name="fakerun", standalone_mode=False)
    except FakerunError as error:
        return _failed(str(error), error.exit_code)
    except typer.TyperException as error:  # the command line could not be parsed
        return _failed(error.format_message(), ExitCode.USAGE)
    except Exception:
        traceback.print_exc()
        return _failed("internal error in fakerun; please report it with the traceback above", ExitCode.INTERNAL)
    return int(code or ExitCode.OK)


def _failed(message: str, code: ExitCode) -> int:
    for line in message.splitlines():
        say(f"error: {line}")
    return code


if __name__ == "__main__":
    sys.exit(main())
