"""A baseline as text, to be reviewed and compared line by line, and back. The text is YAML, written and read by PyYAML.

The same baseline always gives the same text, and the text gives the baseline back. A schedule that several classes have is written once,
under the name of the first of them; a module is a line, in order of names.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fakerun.analysis.baseline.baseline import (
    Baseline,
    Call,
    ClassBaseline,
    DeviceProfile,
    GroupVolume,
    Items,
    JobLine,
    ModuleMemory,
    Part,
    Repeat,
    Schedule,
)
from fakerun.analysis.baseline.calls import call_line, parsed_call
from fakerun.analysis.baseline.sequences import Times, Use, Written, with_sequences
from fakerun.job.document import MOST_PROBLEMS, Key
from fakerun.job.yaml_document import YamlDocument
from fakerun.records.memory import Category

VERSION = 1

_HEADER = """\
# The baseline of a job, written by fakerun: what its ranks communicate and what memory they need. It names modules and functions
# instead of lines, so that an edit elsewhere changes nothing; sizes are bytes. `fakerun check` fails where the job no longer does
# this. If a change is meant, write the file anew with `fakerun check --update-baseline`, and have the difference reviewed.
"""
_MOST_CALLS = 10_000_000
_DEEPEST = 50
_REPEAT = re.compile("([1-9][0-9]{0,8}) x")


# -- writing -------------------------------------------------------------------------------------------------------------------------------


class _Line(dict[str, object]):
    """A mapping that is written in one line."""


class _Dumper(yaml.SafeDumper):
    """Writes a `_Line` in one line, and nothing as an alias."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_representer(_Line, lambda dumper, data: dumper.represent_mapping("tag:yaml.org,2002:map", data, flow_style=True))


def baseline_text(baseline: Baseline) -> str:
    """The text of a baseline file."""
    first: dict[Schedule, str] = {}
    for each in baseline.classes:
        first.setdefault(each.schedule, each.ranks)
    written, sequences = with_sequences(tuple(first))
    document = {
        "version": VERSION,
        "job": {
            "program": baseline.job.program,
            "ranks": baseline.job.ranks,
            "mesh": baseline.job.mesh,
            "hardware": baseline.job.hardware,
            "steps": baseline.job.steps,
            "made with": baseline.job.made_with,
        },
        "classes": [_class(each, first[each.schedule]) for each in baseline.classes],
        "schedules": {
            name: {part.name: _items(items) for part, items in zip(schedule.parts, parts, strict=True)}
            for (schedule, name), parts in zip(first.items(), written, strict=True)
        },
        **({"sequences": {name: _items(items) for name, items in sequences.items()}} if sequences else {}),
    }
    return _HEADER + yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=float("inf"), default_flow_style=False)


def _class(each: ClassBaseline, schedule: str) -> dict[str, object]:
    return {
        "ranks": each.ranks,
        "count": each.count,
        **({"ended": each.ended} if each.ended else {}),
        "schedule": schedule,
        "traffic": {name: _Line(_traffic(volume)) for name, volume in each.traffic.items()},
        "devices": {name: _device(device) for name, device in each.devices.items()},
    }


def _traffic(volume: GroupVolume) -> Iterator[tuple[str, int]]:
    yield from (("calls", volume.calls), ("bytes", volume.nbytes), ("bus bytes", volume.bus_bytes))
    if volume.inter_node_bytes:
        yield "between nodes", volume.inter_node_bytes


def _device(device: DeviceProfile) -> dict[str, object]:
    modules = {} if device.modules is None else {"modules": {name: _module(share) for name, share in device.modules.items()}}
    return {
        "allocated": device.allocated,
        "reserved": device.reserved,
        "peak": device.peak,
        "categories": _Line((category.value, nbytes) for category, nbytes in device.categories.items()),
        **modules,
        **({} if device.recomputed is None else {"recomputed": _Line(device.recomputed)}),
    }


def _module(share: ModuleMemory) -> _Line:
    return _Line((("instances", share.instances), *((category.value, nbytes) for category, nbytes in share.categories.items())))


def _items(items: Written) -> list[object]:
    return list(map(_item, items))


def _item(item: Call | Times | Use) -> object:
    """A call; or how often, and what: the name of a sequence, or a list."""
    if isinstance(item, Call):
        return call_line(item)
    if isinstance(item, Use):
        return {"1 x": item.name}
    only = item.items[0]
    return {f"{item.count} x": only.name if len(item.items) == 1 and isinstance(only, Use) else _items(item.items)}


# -- reading -------------------------------------------------------------------------------------------------------------------------------

_Size = Annotated[int, Field(ge=0, le=2**63)]
_Categories = dict[Category, _Size]


class _Mapping(BaseModel):
    """A mapping of the file: no other keys than these."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=lambda name: name.replace("_", " "))


class _JobMapping(_Mapping):
    program: str
    ranks: str
    mesh: str
    hardware: str
    steps: str
    made_with: str


class _TrafficMapping(_Mapping):
    calls: _Size
    bytes: _Size
    bus_bytes: _Size
    between_nodes: _Size = 0


class _ModuleMapping(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    instances: Annotated[int, Field(ge=1)]
    parameter: _Size = 0
    buffer: _Size = 0
    gradient: _Size = 0
    optimizer_state: _Size = 0
    activation: _Size = 0
    communication: _Size = 0
    input: _Size = 0
    temporary: _Size = 0


class _DeviceMapping(_Mapping):
    allocated: _Size
    reserved: _Size
    peak: str
    categories: _Categories
    modules: dict[str, _ModuleMapping] | None = None
    recomputed: dict[str, _Size] | None = None


class _ClassMapping(_Mapping):
    ranks: str
    count: Annotated[int, Field(ge=1)]
    ended: str = ""
    schedule: str
    traffic: dict[str, _TrafficMapping]
    devices: dict[str, _DeviceMapping]


class _File(_Mapping):
    version: Literal[1]
    job: _JobMapping
    classes: list[_ClassMapping]
    schedules: dict[str, dict[str, list[object]]]
    sequences: dict[str, list[object]] = {}


def parsed_baseline(document: YamlDocument) -> Baseline:
    """The baseline in a file.

    Raises:
        UsageError: it is none: every error, a line each.
    """
    document.raise_problems()
    file = _validated(document)
    document.raise_problems()
    assert file is not None
    reader = _ScheduleReader(document, file.sequences)
    schedules: dict[str, Schedule] = {}
    for name, parts in file.schedules.items():
        schedules[name] = Schedule(tuple(Part(part, reader.items(("schedules", name, part), items)) for part, items in parts.items()))
        if sum(_calls(part.items) for part in schedules[name].parts) > _MOST_CALLS:
            document.refuse(("schedules", name), f"has more than {_MOST_CALLS} calls; {_NO_BASELINE}")
    for at, each in enumerate(file.classes):
        if each.schedule not in schedules:
            document.refuse(("classes", at, "schedule"), f"there is no schedule {each.schedule!r} in the file")
    document.raise_problems()
    return Baseline(
        job=JobLine(**file.job.model_dump()), classes=tuple(_read_class(each, schedules[each.schedule]) for each in file.classes)
    )


_VERSION_MESSAGE = f"must be {VERSION}: the file is of another version of fakerun; write it anew with fakerun check --update-baseline"


def _validated(document: YamlDocument) -> _File | None:
    """The file's keys; errors are noted in the document, and the result is then None."""
    try:
        return _File.model_validate(document.value)
    except ValidationError as errors:
        for error in errors.errors(include_url=False)[:MOST_PROBLEMS]:
            path = tuple(error["loc"])
            document.refuse(path, _VERSION_MESSAGE if path == ("version",) else f"{error['msg'].lower()}; {_NO_BASELINE}")
        return None


_NO_BASELINE = "a baseline is written by fakerun check --update-baseline"


class _ScheduleReader:
    """Reads calls, repetitions and sequences; errors are noted in the document. `sequences` are those of the file, as they are written."""

    def __init__(self, document: YamlDocument, sequences: Mapping[str, Sequence[object]]) -> None:
        self._document = document
        self._sequences = sequences
        self._read: dict[str, Items] = {}
        self._reading: set[str] = set()

    def items(self, path: tuple[Key, ...], items: object) -> Items:
        """The items of a list, without names."""
        if len(path) > _DEEPEST or not isinstance(items, list):
            return self._refuse(path, "must be a list of calls and of repetitions")
        found: list[Call | Repeat] = []
        for at, item in enumerate(items):
            found.extend(self._item((*path, at), item))
        return tuple(found)

    def _item(self, path: tuple[Key, ...], item: object) -> Items:
        if isinstance(item, dict) and len(item) == 1:
            [(times, what)] = item.items()
            if (count := _REPEAT.fullmatch(times)) is not None:
                items = self._named(path, what) if isinstance(what, str) else self.items((*path, times), what)
                return items if count[1] == "1" else (Repeat(int(count[1]), items),)
        try:
            if isinstance(item, str):
                return (parsed_call(item),)
        except ValueError as error:
            return self._refuse(path, str(error))
        return self._refuse(path, "must be a call, or a repetition of calls, as in '32 x'")

    def _named(self, path: tuple[Key, ...], name: str) -> Items:
        """The items of a sequence, read once."""
        if name not in self._sequences:
            return self._refuse(path, f"there is no sequence {name!r} in the file")
        if name in self._reading or len(self._reading) > _DEEPEST:
            return self._refuse(path, f"the sequence {name!r} is a part of itself")
        if name not in self._read:
            self._reading.add(name)
            self._read[name] = self.items(("sequences", name), self._sequences[name])
            self._reading.remove(name)
        return self._read[name]

    def _refuse(self, path: tuple[Key, ...], message: str) -> Items:
        if len(self._document.problems) < MOST_PROBLEMS:
            self._document.refuse(path, f"{message}; {_NO_BASELINE}")
        return ()


def _calls(items: Items) -> int:
    """How many calls the items are; of too many, some number that is too large."""
    total = 0
    for item in items:
        total += 1 if isinstance(item, Call) else item.count * _calls(item.items)
    return total


def _read_class(each: _ClassMapping, schedule: Schedule) -> ClassBaseline:
    return ClassBaseline(
        ranks=each.ranks,
        count=each.count,
        ended=each.ended,
        schedule=schedule,
        traffic=MappingProxyType({name: _read_traffic(volume) for name, volume in each.traffic.items()}),
        devices=MappingProxyType({name: _read_device(device) for name, device in each.devices.items()}),
    )


def _read_traffic(volume: _TrafficMapping) -> GroupVolume:
    return GroupVolume(calls=volume.calls, nbytes=volume.bytes, bus_bytes=volume.bus_bytes, inter_node_bytes=volume.between_nodes)


def _read_device(device: _DeviceMapping) -> DeviceProfile:
    return DeviceProfile(
        allocated=device.allocated,
        reserved=device.reserved,
        peak=device.peak,
        categories=MappingProxyType(device.categories),
        modules=None if device.modules is None else MappingProxyType({name: _read_module(each) for name, each in device.modules.items()}),
        recomputed=None if device.recomputed is None else MappingProxyType(device.recomputed),
    )


def _read_module(share: _ModuleMapping) -> ModuleMemory:
    categories = {category: nbytes for category in Category if (nbytes := getattr(share, category.value))}
    return ModuleMemory(instances=share.instances, categories=MappingProxyType(categories))
