"""How a command line is parsed: `run` as the default command, and the two grammars of a command that runs a program.

If the script comes first, the options are fakerun's until `--`. If an option comes first, it is torchrun's grammar: everything after the
script is the script's.
"""

import os
import shlex
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import typer
from typer.core import TyperCommand, TyperGroup

from fakerun.cli.help import BRIEF
from fakerun.cli.torchrun import environment_variables
from fakerun.errors import InterruptedRunError, UsageError
from fakerun.spelling import did_you_mean

Context: TypeAlias = Any
"""Typer's context. Its public class is a subclass of what typer's commands are declared to take, hence too narrow for an override."""

DEFAULT_COMMAND = "run"

_HELP_WIDTH = 200
_USAGES = ("SCRIPT [OPTIONS] [-- SCRIPT ARGUMENTS]", "[OPTIONS] SCRIPT [SCRIPT ARGUMENTS]", "[OPTIONS] -m MODULE [MODULE ARGUMENTS]")


def either_spelling(option: str) -> str:
    """`--nproc_per_node` is `--nproc-per-node`, as in torchrun."""
    return option.replace("_", "-")


class BriefCommand(TyperCommand):
    """A command whose `--help` is a screen of text."""

    def get_help(self, ctx: Context) -> str:
        return BRIEF[self.name or DEFAULT_COMMAND].rstrip()

    def full_help(self, ctx: Context) -> str:
        """Every option, as typer describes it."""
        return super().get_help(ctx)


class DefaultCommandGroup(TyperGroup):
    """Parses the command line as that of `run` when its first word is neither a command nor an option of the group."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            args = ["--help"]
        own_options = {option for parameter in self.get_params(ctx) for option in parameter.opts}
        if args and args[0] not in self.commands and args[0] not in own_options:
            if not ctx.resilient_parsing:
                self._check_not_mistyped(args)
            args = [DEFAULT_COMMAND, *args]
        return super().parse_args(ctx, args)

    def _check_not_mistyped(self, args: list[str]) -> None:
        """Refuse a first word that is meant to be a command: no option, no file, without a script's suffix, and near a command's name."""
        word = args[0]
        is_module = not {"-m", "--module"}.isdisjoint(args)
        if word.startswith("-") or is_module or Path(word).suffix or os.path.exists(word):  # noqa: PTH110 - Path's raises for a name that is too long
            return
        if near := did_you_mean(word, self.commands):
            raise UsageError(f"no such script or command: {word}{near}")

    def shell_complete(self, ctx: Context, incomplete: str) -> list[Any]:
        default = self.commands[DEFAULT_COMMAND]
        return [*super().shell_complete(ctx, incomplete), *default.shell_complete(_context(default, ctx), incomplete)]

    def get_help(self, ctx: Context) -> str:
        return BRIEF[DEFAULT_COMMAND].rstrip()

    def full_help(self, ctx: Context) -> str:
        """Every option of the default command, the other commands, and the group's own options."""
        return super().get_help(ctx)

    def format_usage(self, ctx: Context, formatter: Any) -> None:
        for usage in _USAGES:
            formatter.write_usage(f"{ctx.command_path} [{DEFAULT_COMMAND}]", usage)

    def format_options(self, ctx: Context, formatter: Any) -> None:
        """The default command's options too."""
        default = self.commands[DEFAULT_COMMAND]
        default.format_options(_context(default, ctx), formatter)
        with formatter.section("Other commands"):
            others = {name: command for name, command in self.commands.items() if name != DEFAULT_COMMAND}
            formatter.write_dl([(name, command.get_short_help_str(limit=_HELP_WIDTH)) for name, command in others.items()])
        with formatter.section("Other"):
            formatter.write_dl([record for parameter in self.params if (record := parameter.get_help_record(ctx))])


class CommandWithVariables(BriefCommand):
    """A command whose options can also be given as environment variables."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for parameter in self.params:
            if parameter.param_type_name == "option":
                parameter.envvar = environment_variables(parameter.name)
                setattr(parameter, "split_envvar_value", partial(_words, option=parameter.name))  # noqa: B010  # no method to mypy

    def invoke(self, ctx: Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:  # typer would end without a word
            raise InterruptedRunError("interrupted") from error
        except UsageError as error:
            variables = [each for name in ctx.params if (each := set_variable(ctx, name)) is not None]
            raise UsageError(f"{error} (set in the environment: {', '.join(variables)})" if variables else str(error)) from error


def _words(text: str, *, option: str) -> list[str]:
    """Several values in one variable, as a shell reads words: quotes keep spaces together.

    Raises:
        UsageError: a quotation does not end.
    """
    try:
        return shlex.split(text)
    except ValueError as error:
        raise UsageError(f"variable {environment_variables(option)[0]}={text}: {str(error).lower()}") from error


class ProgramCommand(CommandWithVariables):
    """A command that runs a program with arguments of its own."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        script = args[0] if args and not args[0].startswith("-") else None
        ctx.allow_interspersed_args = script is not None
        try:
            rest = super().parse_args(ctx, _with_bare_value(args))
            _as_written(ctx.params)
            return rest
        except typer.TyperException as error:
            parameter = getattr(error, "param", None)
            if parameter is not None and (variable := set_variable(ctx, parameter.name)) is not None:
                reason = "is neither true nor false" if parameter.is_flag else error.format_message().partition(": ")[2]
                raise UsageError(f"variable {variable}: {reason}") from error
            # Typer exports no class for this error alone, and it is the only one with this attribute.
            if not hasattr(error, "possibilities"):
                raise
            option = str(getattr(error, "option_name", ""))
            raise UsageError(self._no_such_option(ctx, option, script)) from error

    def _no_such_option(self, ctx: Context, option: str, script: str | None) -> str:
        known = [name for parameter in self.get_params(ctx) for name in parameter.opts if name.startswith("--")]
        where = f"after --, as in: fakerun {script} -- {option}" if script else "after the script"
        return f"no such option: {option}{did_you_mean(option, known)}; options for the script go {where}"

    def format_usage(self, ctx: Context, formatter: Any) -> None:
        for usage in _USAGES:
            formatter.write_usage(ctx.command_path, usage)


def set_variable(ctx: Context, name: str) -> str | None:
    """`FAKERUN_STEPS=3`, where the value of that parameter comes from the environment."""
    source = ctx.get_parameter_source(name)
    if source is None or source.name != "ENVIRONMENT":
        return None
    return next((f"{each}={os.environ[each]}" for each in environment_variables(name) if os.environ.get(each)), None)


_VALUE_OPTIONAL = "--error-on-collective"
"""The option that has its value after `=`, as in grep's --color, or has none: the next argument may be the script."""

_ALL = "all"
_MARK = "\0"
"""No argument of a process contains it."""


def _with_bare_value(args: list[str]) -> list[str]:
    """Give the option a value where it has none. Which words are the script's is not known yet, so theirs are marked too."""
    return [f"{_VALUE_OPTIONAL}={_MARK}{arg}" if either_spelling(arg) == _VALUE_OPTIONAL else arg for arg in args]


def _as_written(parameters: dict[str, Any]) -> None:
    """Undo the marks after parsing: in the value of the option, and in the script's arguments."""
    name = _VALUE_OPTIONAL.removeprefix("--").replace("-", "_")
    if (parameters.get(name) or "").startswith(_MARK):
        parameters[name] = _ALL
    marked = f"{_VALUE_OPTIONAL}={_MARK}"
    if parameters.get("args"):
        parameters["args"] = [arg.removeprefix(marked) for arg in parameters["args"]]


def _context(command: Any, parent: Context) -> Context:
    """A context for asking the command about its options; nothing is parsed or run."""
    return command.make_context(command.name, [], parent=parent, resilient_parsing=True)
