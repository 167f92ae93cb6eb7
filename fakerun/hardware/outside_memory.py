"""What was measured beside the caching allocator: contexts of processes and NCCL's buffers, from `outside_memory.yaml`, as ranges."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

from fakerun.hardware.accelerator import Accelerator, Vendor
from fakerun.hardware.quantities import BYTES, CAPABILITY

DATA_FILE = Path(__file__).with_name("outside_memory.yaml")

FEWEST_REPORTS = 3
"""A range is derived from the reports of one compute capability if there are as many, else from all of the vendor's."""


class LinkKind(StrEnum):
    """What joins the ranks of a communicator; NCCL opens other numbers of channels over each."""

    NVLINK = "nvlink"
    XGMI = "xgmi"
    PCIE = "pcie"
    NETWORK = "network"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextReport:
    """A process as somebody measured it. `excluded` says why no range is derived from it."""

    card: str
    vendor: Vendor
    compute_capability: tuple[int, int]
    multiprocessors: int
    outside_bytes: int
    source: str
    excluded: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CommunicatorReport:
    """A process of a job of `ranks` ranks that communicated: all that it held beside the allocator."""

    card: str
    ranks: int
    outside_bytes: int
    source: str
    excluded: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Channels:
    """How many channels a communicator has: for collectives at least `low` and at most `high`, and to each peer for p2p calls."""

    low: int
    high: int
    peer: int
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NcclBuffers:
    """What NCCL allocates for the ends of a connection: within a node `receive_bytes` and `send_bytes`, over the network `network_bytes`.

    `library_bytes` is what its kernels and streams take of a device at most, `one_rank_bytes` what a communicator without
    connections does. `nvls_bytes` is for each channel of `nvls_channels`, by compute capability, and each rank of the node.
    """

    library_bytes: int
    one_rank_bytes: int
    receive_bytes: int
    send_bytes: int
    network_bytes: int
    network_p2p_bytes: int
    low_pairs: int
    high_pairs: int
    channels: Mapping[LinkKind, Channels]
    nvls_channels: Mapping[tuple[int, int], int]
    nvls_bytes: int
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OutsideFigures:
    """The data file."""

    contexts: Sequence[ContextReport]
    communicators: Sequence[CommunicatorReport]
    nccl: NcclBuffers


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextRange:
    """What one process holds on a device beside torch's allocator and NCCL, in bytes, and what that is derived from."""

    low_bytes: int
    high_bytes: int
    source: str


@cache
def outside_figures() -> OutsideFigures:
    """All of fakerun's data file."""
    return load_outside_figures(DATA_FILE)


def load_outside_figures(path: Path) -> OutsideFigures:
    """The figures of a data file.

    Raises:
        UsageError: an amount has no number or no unit.
    """
    import yaml

    document = yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return OutsideFigures(
        contexts=tuple(map(_context, document["contexts"])),
        communicators=tuple(
            CommunicatorReport(
                card=each["card"],
                ranks=each["ranks"],
                outside_bytes=_bytes(each["outside"]),
                source=each["source"],
                excluded=each.get("excluded"),
            )
            for each in document["communicators"]
        ),
        nccl=_nccl(document["nccl"]),
    )


def context_range(hardware: Accelerator) -> ContextRange:
    """What a process of the hardware holds: by multiprocessor, since the reports of all generations agree on that to a factor of two."""
    usable = [each for each in outside_figures().contexts if each.excluded is None and each.vendor is hardware.vendor]
    same = [each for each in usable if each.compute_capability == hardware.compute_capability]
    reports = same if len(same) >= FEWEST_REPORTS else usable
    shares = [each.outside_bytes / each.multiprocessors for each in reports]
    of = ".".join(map(str, hardware.compute_capability)) if reports is same else hardware.vendor
    low, high = (round(share * hardware.multiprocessors) for share in (min(shares), max(shares)))
    return ContextRange(
        low_bytes=low,
        high_bytes=high,
        source=f"{len(reports)} reports of {of}: {min(shares) / 2**20:.1f} to {max(shares) / 2**20:.1f} MiB for each multiprocessor",
    )


def _bytes(text: str) -> int:
    return int(BYTES.parse(text))


def _capability(text: str) -> tuple[int, int]:
    major, minor = CAPABILITY.parse(text)
    return major, minor


def _context(report: Mapping[str, Any]) -> ContextReport:
    outside = (
        _bytes(report["outside"])
        if "outside" in report
        else _bytes(report["in_use"]) - _bytes(report["allocated"]) - _bytes(report["unallocated"])
    )
    return ContextReport(
        card=report["card"],
        vendor=Vendor(report.get("vendor", Vendor.NVIDIA)),
        compute_capability=_capability(report["capability"]),
        multiprocessors=report["multiprocessors"],
        outside_bytes=outside,
        source=report["source"],
        excluded=report.get("excluded"),
    )


def _nccl(figures: Mapping[str, Any]) -> NcclBuffers:
    connection, pairs, nvls = figures["connection"], figures["pairs_per_channel"], figures["nvls"]
    return NcclBuffers(
        library_bytes=_bytes(figures["library"]["value"]),
        one_rank_bytes=_bytes(figures["one_rank"]["value"]),
        receive_bytes=_bytes(connection["receive"]["value"]),
        send_bytes=_bytes(connection["send"]["value"]),
        network_bytes=_bytes(connection["network"]["value"]),
        network_p2p_bytes=_bytes(figures["network_p2p"]["value"]),
        low_pairs=pairs["low"],
        high_pairs=pairs["high"],
        channels={
            LinkKind(each["link"]): Channels(low=each["low"], high=each["high"], peer=each["peer"], source=each["source"])
            for each in figures["channels"]
        },
        nvls_channels={_capability(key): value for key, value in nvls["channels"].items() if key != "source"},
        nvls_bytes=_bytes(nvls["buffer"]["value"]),
        source=connection["receive"]["source"],
    )
