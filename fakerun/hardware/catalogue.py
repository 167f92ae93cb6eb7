"""The accelerators that are known by name: `accelerators.yaml`, read and checked. Every figure comes with its source."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fakerun.errors import FakerunError, UsageError
from fakerun.hardware.accelerator import FIGURES, REQUIRED, Accelerator, Vendor, accelerator_of
from fakerun.spelling import did_you_mean

if TYPE_CHECKING:
    from pydantic import TypeAdapter

DATA_FILE = Path(__file__).with_name("accelerators.yaml")
DEFAULT_HARDWARE = "h100-80gb"

_NAME_LINE = re.compile(r"^- name: (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure of the data file: its value, parsed (None: not known), and where it comes from.

    `estimate` is given for a figure that is not published: what it is derived from, and how far off it may be.
    """

    value: Any
    source: str
    estimate: str | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One accelerator of the data file. `figures` has, by key, those that are known and those that are said to be unknown."""

    accelerator: Accelerator
    figures: Mapping[str, Figure]


class DataFileError(FakerunError):
    """The data file of accelerators is wrong: a fault in the file, not in the input."""


def accelerator_names() -> tuple[str, ...]:
    """The names of all accelerators, in the file's order.

    Reads them off the text of the file: a parser of YAML would take longer to import than the rest of `fakerun --help` takes.
    """
    return tuple(_NAME_LINE.findall(DATA_FILE.read_text(encoding="utf-8")))


def entry_named(name: str) -> Entry:
    """The accelerator of that name, in capitals or not, with its sources.

    Raises:
        UsageError: no such name; the message offers the nearest ones and lists all.
    """
    known = known_hardware()
    lower = name.lower()
    if lower not in known:
        raise UsageError(f"unknown hardware {name!r}{did_you_mean(lower, known)}; known: {', '.join(known)}")
    return known[lower]


def hardware_named(name: str) -> Accelerator:
    """The accelerator of that name, in capitals or not.

    Raises:
        UsageError: no such name; the message offers the nearest ones and lists all.
    """
    return entry_named(name).accelerator


@cache
def known_hardware() -> Mapping[str, Entry]:
    """Every accelerator of fakerun's data file, by name, in the file's order."""
    return load_catalogue(DATA_FILE)


def load_catalogue(path: Path) -> Mapping[str, Entry]:
    """The accelerators of a data file, by name, in the file's order.

    Raises:
        DataFileError: the file is wrong; the message names the file, the accelerator and the key.
    """
    # Both are needed for this file only; together they cost more than the rest of the command's start.
    import yaml
    from pydantic import ValidationError

    try:
        # libyaml's parser, where PyYAML was built with it: Python's takes 0.1 s for this file.
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        document = _document_adapter().validate_python(yaml.load(path.read_text(encoding="utf-8"), Loader=loader))
    except yaml.YAMLError as error:
        raise DataFileError(f"{path}: this is no YAML: {error}") from error
    except ValidationError as error:
        raise DataFileError("\n".join(_problems(path, error))) from error
    entries: dict[str, Entry] = {}
    for card in document.accelerators:
        if card.name in entries:
            raise DataFileError(f"{path}: {card.name}: the name is given twice")
        entries[card.name] = _entry(path, card, document.sources)
    return entries


@cache
def _document_adapter() -> "TypeAdapter[Any]":
    from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

    class FigureText(BaseModel):
        model_config = ConfigDict(extra="forbid", strict=True)

        value: str | int | float | None
        source: str = ""
        estimate: str | None = None
        note: str | None = None

    class Card(BaseModel):
        model_config = ConfigDict(extra="allow", strict=True)
        __pydantic_extra__: dict[str, FigureText] = Field(init=False)

        name: str = Field(pattern="^[a-z0-9-]+$")
        vendor: str

    class Document(BaseModel):
        model_config = ConfigDict(extra="forbid", strict=True)

        sources: dict[str, str]
        accelerators: list[Card]

    return TypeAdapter(Document)


def _problems(path: Path, error: Any) -> Iterator[str]:
    """A line for each error that pydantic found, with the accelerator's name where it has one."""
    for each in error.errors(include_url=False):
        yield f"{path}: {'.'.join(map(str, each['loc']))}: {each['msg']}"


def _entry(path: Path, card: Any, sources: Mapping[str, str]) -> Entry:
    """One accelerator of the file, its figures parsed."""

    def refused(key: str, why: str) -> DataFileError:
        return DataFileError(f"{path}: {card.name}: {key}: {why}")

    if card.vendor not in list(Vendor):
        raise refused("vendor", f"{card.vendor!r} is not known; known: {', '.join(Vendor)}")
    figures: dict[str, Figure] = {}
    for key, text in card.__pydantic_extra__.items():
        if key not in FIGURES:
            raise refused(key, f"unknown key{did_you_mean(key, FIGURES)}; known: {', '.join(FIGURES)}")
        try:
            figures[key] = _figure(key, text, sources)
        except UsageError as error:
            raise refused(key, str(error)) from error
    for key in REQUIRED:
        if key not in figures or figures[key].value is None:
            raise refused(key, "is missing, and nothing can be simulated without it")
    values = {key: figure.value for key, figure in figures.items()}
    return Entry(accelerator=accelerator_of(card.name, Vendor(card.vendor), values, {}), figures=figures)


def _figure(key: str, text: Any, sources: Mapping[str, str]) -> Figure:
    """A figure with its value parsed and its source written out. A source is the name of one in the file, or a text with its address."""
    if text.value is None:
        if not text.note:
            raise UsageError("has no value and no note: say why it is not known")
        return Figure(value=None, source=text.source, note=text.note)
    source = sources.get(text.source, text.source)
    if " " not in source and "/" not in source:
        raise UsageError(f"the source {text.source!r} is neither one of the file's `sources` nor an address")
    return Figure(value=FIGURES[key].parse(str(text.value)), source=source, estimate=text.estimate, note=text.note)
