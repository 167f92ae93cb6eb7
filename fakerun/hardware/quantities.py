"""Amounts with units as text: what the data file, job files and the command line write for a figure, and how each is read.

Every amount is kept in one unit: bytes, bytes per second, operations per second, hertz, watts, seconds. Decimal and binary prefixes are
distinguished: GB is 10^9 bytes, GiB is 2^30.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from fakerun.errors import UsageError

_AMOUNT = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(\S.*)?")
_CAPABILITY = re.compile(r"[0-9]{1,2}\.[0-9]")
_LARGEST_COUNT = 10**9
_LONGEST_TEXT = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """A positive number with one of some units.

    `units` maps how a unit is written to its size; `what` and `example` are for messages. `whole` amounts are read as an int.
    """

    what: str
    units: Mapping[str, float]
    example: str
    whole: bool

    def parse(self, text: str) -> int | float:
        """The amount in its base unit.

        Raises:
            UsageError: the text is no number with one of the units, or the amount is zero.
        """
        match = _AMOUNT.fullmatch(text.strip())
        unit = "" if match is None else match[2] or ""
        if match is None or unit not in self.units:
            raise UsageError(f"{text!r} is not {self.what}: give a number and a unit ({', '.join(self.units)}), as in {self.example}")
        amount = float(match[1]) * self.units[unit]
        if not amount or (self.whole and amount < 1):
            raise UsageError(f"{text!r} is not possible: it must be above 0")
        return int(amount) if self.whole else amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """A whole number, at least 1."""

    def parse(self, text: str) -> int:
        """The number.

        Raises:
            UsageError: the text is no whole number from 1 on.
        """
        if not re.fullmatch("[0-9]{1,9}", text) or not 1 <= int(text) <= _LARGEST_COUNT:
            raise UsageError(f"{text!r} is not a whole number from 1 on")
        return int(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Capability:
    """A compute capability, as `9.0`."""

    def parse(self, text: str) -> tuple[int, int]:
        """(major, minor).

        Raises:
            UsageError: the text is no two numbers with a point.
        """
        if not _CAPABILITY.fullmatch(text):
            raise UsageError(f"{text!r} is not a compute capability: give major and minor version, as in 9.0")
        major, minor = text.split(".")
        return int(major), int(minor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Name:
    """A short text."""

    def parse(self, text: str) -> str:
        """The text.

        Raises:
            UsageError: it is empty, too long, or holds what a terminal cannot show.
        """
        if not text.strip() or len(text) > _LONGEST_TEXT or not text.isprintable():
            raise UsageError(f"{text!r} is not a name: give 1 to {_LONGEST_TEXT} printable characters")
        return text.strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A part of a whole, as `0.92`."""

    def parse(self, text: str) -> float:
        """The share.

        Raises:
            UsageError: the text is no number above 0 and at most 1.
        """
        if not re.fullmatch(r"[0-9]+(?:\.[0-9]+)?", text) or not 0 < float(text) <= 1:
            raise UsageError(f"{text!r} is not a share: give a number above 0 and at most 1, as in 0.92")
        return float(text)


def _prefixed(unit: str, prefixes: str, *, scale: float = 1.0) -> dict[str, float]:
    """Decimal multiples of a unit, by how they are written: `GB`, `TB`."""
    return {f"{prefix}{unit}": scale * 1000.0 ** (" kMGTP".index(prefix)) for prefix in prefixes}


_BINARY = {"KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30, "TiB": 2.0**40}

BYTES = Amount(what="an amount of memory", units={**_BINARY, **_prefixed("B", "MGT")}, example="94GiB", whole=True)
BYTES_PER_S = Amount(
    what="a bandwidth",
    units={**_prefixed("B/s", "MGT"), **{f"{unit}/s": size for unit, size in _BINARY.items()}, **_prefixed("bit/s", "MGT", scale=1 / 8)},
    example="3.35TB/s",
    whole=False,
)
FLOPS = Amount(what="a rate of operations", units=_prefixed("FLOPS", "GTP"), example="989TFLOPS", whole=False)
HERTZ = Amount(what="a frequency", units=_prefixed("Hz", "kMG"), example="1980MHz", whole=True)
WATTS = Amount(what="a power", units={"W": 1.0, "kW": 1000.0}, example="700W", whole=False)
SECONDS = Amount(what="a time", units={"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}, example="5us", whole=False)
BITS = Amount(what="a width", units={"bit": 1.0}, example="5120bit", whole=True)
COUNT = Count()
CAPABILITY = Capability()
NAME = Name()
SHARE = Share()

Quantity = Amount | Count | Capability | Name | Share
