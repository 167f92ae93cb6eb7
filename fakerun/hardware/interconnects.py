"""Fabrics between nodes that are known by name: `interconnects.yaml`, each figure with its source, and what `--interconnect` takes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from fakerun.errors import UsageError
from fakerun.hardware.accelerator import FIGURES, Accelerator
from fakerun.hardware.catalogue import Figure
from fakerun.hardware.request import hardware_with
from fakerun.spelling import did_you_mean

DATA_FILE = Path(__file__).with_name("interconnects.yaml")

KEYS = ("nics_per_node", "nic_bandwidth", "nic_latency")
"""The figures of an accelerator's node that a fabric has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedInterconnect:
    """A fabric between nodes: what it is called, what it is (InfiniBand, RoCE, EFA), and its figures by key, all of `KEYS`.

    `texts` are the same figures as they are written, which `hardware_with` takes as an accelerator's own.
    """

    name: str
    fabric: str
    figures: Mapping[str, Figure]
    texts: Mapping[str, str]


@cache
def known_interconnects() -> Mapping[str, NamedInterconnect]:
    """Every fabric of fakerun's data file, by name, in the file's order."""
    import yaml

    document = yaml.load(DATA_FILE.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return {each["name"]: _interconnect(each, document["sources"]) for each in document["interconnects"]}


def interconnect_named(name: str) -> NamedInterconnect:
    """The fabric of that name, in capitals or not.

    Raises:
        UsageError: no such name; the message offers the nearest ones and lists all.
    """
    known, lower = known_interconnects(), name.lower()
    if lower not in known:
        raise UsageError(f"unknown interconnect {name!r}{did_you_mean(lower, known)}; known: {', '.join(known)}")
    return known[lower]


def parse_interconnect(text: str) -> Mapping[str, str]:
    """The figures of an accelerator's node, as text by key, that `NAME` or `NAME,KEY=VALUE,...` asks for.

    Raises:
        UsageError: no such fabric, no such figure of one, or a value that is not possible.
    """
    name, *parts = (part.strip() for part in text.split(","))
    figures = dict(interconnect_named(name).texts)
    for part in parts:
        key, equals, value = (side.strip() for side in part.partition("="))
        if not equals:
            raise UsageError(f"interconnect {text!r}: {part!r} is not KEY=VALUE; give a name (ib-ndr-8x), or one with figures of your own")
        if key not in KEYS:
            raise UsageError(f"interconnect {text!r}: unknown figure {key!r}{did_you_mean(key, KEYS)}; known: {', '.join(KEYS)}")
        try:
            FIGURES[key].parse(value)
        except UsageError as error:
            raise UsageError(f"interconnect {text!r}: {key}: {error}") from error
        figures[key] = value
    return figures


def with_interconnect(accelerator: Accelerator, text: str) -> Accelerator:
    """The accelerator in nodes that the fabric joins which `NAME` or `NAME,KEY=VALUE,...` names.

    Raises:
        UsageError: as of `parse_interconnect`.
    """
    joined = hardware_with(accelerator.name, {**accelerator.overrides, **parse_interconnect(text)})
    return replace(accelerator, interconnect=joined.interconnect)


def _interconnect(each: Mapping[str, Any], sources: Mapping[str, str]) -> NamedInterconnect:
    texts = {key: str(each[key]["value"]) for key in KEYS}
    return NamedInterconnect(
        name=each["name"],
        fabric=each["fabric"],
        figures={key: _figure(key, each[key], sources) for key in KEYS},
        texts=texts,
    )


def _figure(key: str, text: Mapping[str, Any], sources: Mapping[str, str]) -> Figure:
    return Figure(
        value=FIGURES[key].parse(str(text["value"])),
        source=sources.get(text["source"], text["source"]),
        estimate=text.get("estimate"),
        note=text.get("note"),
    )
