"""`nvidia-smi`, the driver's command: its list of devices and its queries as CSV are answered, whoever starts it from Python.

The command need not exist. One that does describes another machine, and is not run.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from fakerun.emulate.context import EmulationContext
from fakerun.emulate.driver.node_devices import NodeDevices
from fakerun.emulate.unsupported.gaps import NVIDIA_SMI, NVIDIA_SMI_FIGURES
from fakerun.patching import Patches
from fakerun.records.observer import FindingSink

_COMMAND = "nvidia-smi"
_MENTIONED = re.compile(r"(?<![\w./-])(?:[\w./-]*/)?nvidia-smi(?![\w.-])")
_SYNTAX = set("|&;<>()$`\\\n*?[]#~!{}")
_MIB = 2**20
_PRINT = "import sys; sys.stdout.write(sys.argv[1])"
"""The program that runs in the place of the command."""

_SENSORS = {"utilization.gpu": "%", "utilization.memory": "%", "temperature.gpu": "", "power.draw": "W", "fan.speed": "%"}
"""Fields that read a sensor, and their units."""


@contextmanager
def nvidia_smi(context: EmulationContext) -> Iterator[None]:
    """Answer `nvidia-smi` for `subprocess`, `os.popen` and `os.system`, on a node with NVIDIA's devices, until the context ends."""
    answers = _Answers(context.part(NodeDevices), context.findings)
    start, system = subprocess.Popen.__init__, os.system

    def start_process(self: Any, args: Any, *more: Any, **options: Any) -> None:
        args = args if isinstance(args, (str, bytes, os.PathLike)) else list(args)
        arguments = _arguments(args, in_shell=bool(options.get("shell")))
        if arguments is None:
            start(self, args, *more, **options)
        else:
            options |= {"shell": False, "executable": None}
            start(self, [sys.executable, "-S", "-c", _PRINT, answers.to(arguments)], *more, **options)

    def run_system(command: Any) -> int:
        arguments = _arguments(command, in_shell=True)
        if arguments is None:
            return system(command)
        sys.stdout.flush()
        return system(shlex.join([sys.executable, "-S", "-c", _PRINT, answers.to(arguments)]))

    with Patches() as patches:
        if not context.job.hardware.is_amd:
            patches.set(subprocess.Popen, "__init__", start_process)
            patches.set(os, "system", run_system)
        yield


def _arguments(args: Any, *, in_shell: bool) -> list[str] | None:
    """The arguments of `nvidia-smi`; None if another command is started."""
    if isinstance(args, (str, bytes, os.PathLike)):
        text = os.fsdecode(args)
        if not in_shell:
            return [] if _is_command(text) else None
        if _MENTIONED.search(text) is None:
            return None
        if _SYNTAX & set(text) or not _is_command(shlex.split(text)[0]):
            raise NVIDIA_SMI.error(f"the shell command {text!r}")
        return shlex.split(text)[1:]
    words = [os.fsdecode(word) for word in args]
    if in_shell:
        return _arguments(words[0], in_shell=True) if words else None
    return words[1:] if words and _is_command(words[0]) else None


def _is_command(program: str) -> bool:
    return os.path.basename(program) == _COMMAND  # noqa: PTH119


class _Answers:
    """What the command prints."""

    def __init__(self, devices: NodeDevices, findings: FindingSink) -> None:
        self._devices = devices
        self._findings = findings

    def to(self, arguments: Sequence[str]) -> str:
        """The output of `nvidia-smi ARGUMENTS`."""
        options = _options(arguments)
        selected = self._selected(options.pop("id", None))
        if options == {"list-gpus": ""}:
            name = self._devices.hardware.device_name
            return "".join(f"GPU {index}: {name} (UUID: {self._devices.uuid(index)})\n" for index in selected)
        fields, form = options.pop("query-gpu", ""), options.pop("format", "").split(",")
        if options or not fields or form[0] != "csv":
            raise _unanswered(arguments)
        return self._table(fields.split(","), selected, form[1:], arguments)

    def _selected(self, listed: str | None) -> Sequence[int]:
        if listed is None:
            return range(self._devices.count)
        return [int(each) for each in listed.split(",") if each.isdecimal() and int(each) < self._devices.count]

    def _table(self, fields: Sequence[str], selected: Sequence[int], form: Sequence[str], arguments: Sequence[str]) -> str:
        columns = [self._column(field.strip(), arguments) for field in fields]
        with_units = "nounits" not in form
        heads = [[f"{name} [{unit}]" if unit and with_units else name for name, unit, _ in columns]] if "noheader" not in form else []
        rows = [[f"{value(index)} {unit}" if unit and with_units else value(index) for _, unit, value in columns] for index in selected]
        return "".join(f"{', '.join(row)}\n" for row in (*heads, *rows))

    def _column(self, field: str, arguments: Sequence[str]) -> tuple[str, str, Callable[[int], str]]:
        """The name of a field, its unit, and its value of a device."""
        devices, hardware = self._devices, self._devices.hardware
        known: dict[str, Callable[[int], str]] = {
            "index": str,
            "count": lambda index: str(devices.count),
            "name": lambda index: hardware.device_name,
            "uuid": devices.uuid,
            "compute_cap": lambda index: ".".join(map(str, hardware.compute_capability)),
        }
        memory: dict[str, Callable[[int], str]] = {
            "memory.total": lambda index: _in_mib(hardware.usable_bytes + devices.reserved_bytes),
            "memory.used": lambda index: _in_mib(devices.used_bytes(index)),
            "memory.free": lambda index: _in_mib(hardware.usable_bytes - devices.used_bytes(index)),
        }
        if hardware.driver_reserved_bytes is not None:
            memory["memory.reserved"] = lambda index: _in_mib(devices.reserved_bytes)
        name = field.removeprefix("gpu_")
        if name in known:
            return name, "", known[name]
        if field in memory or field in _SENSORS:
            if field not in ("memory.total", "memory.reserved"):
                NVIDIA_SMI_FIGURES.report(self._findings)
            return field, _SENSORS.get(field, "MiB"), memory.get(field, lambda index: "1")
        raise _unanswered(arguments)


def _in_mib(nbytes: int) -> str:
    """MiB, rounded up, as the driver 580 shows them."""
    return str(-(-nbytes // _MIB))


def _unanswered(arguments: Sequence[str]) -> Exception:
    return NVIDIA_SMI.error(shlex.join([_COMMAND, *arguments]))


def _options(arguments: Sequence[str]) -> dict[str, str]:
    """The options by their long names: `--query-gpu=name`, `--format csv`, `-i 0`, `-L`."""
    names = {"-L": "list-gpus", "-i": "id"}
    found: dict[str, str] = {}
    waiting = list(arguments)
    while waiting:
        option, equals, value = waiting.pop(0).partition("=")
        name = names.get(option, option.removeprefix("--"))
        takes_value = name in ("id", "query-gpu", "format")
        found[name] = value if equals else waiting.pop(0) if takes_value and waiting else ""
    return found
