"""HardwareSpec: the accelerator that the script is to believe in, and the ones that are known by name (`hardware.yaml`)."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from fakerun.errors import UsageError
from fakerun.spelling import did_you_mean
from fakerun.units import GIB

DEFAULT_HARDWARE = "h100-80gb"


@dataclass(frozen=True, slots=True, kw_only=True)
class HardwareSpec:
    """One accelerator model.

    `device_name` is what the driver reports (`torch.cuda.get_device_name()`); `usable_bytes` is the total that the driver
    reports, less than the nominal size; `compute_capability` is (major, minor); `multiprocessors` is the SM (or CU) count.
    `source` says where the usable memory comes from.
    """

    name: str
    device_name: str
    usable_bytes: int
    compute_capability: tuple[int, int]
    multiprocessors: int
    source: str


def hardware_named(name: str) -> HardwareSpec:
    """The accelerator of that name, in capitals or not.

    Raises:
        UsageError: no such name; the message offers the nearest ones and lists all.
    """
    known = known_hardware()
    lower = name.lower()
    if lower not in known:
        raise UsageError(f"unknown hardware {name!r}{did_you_mean(lower, known)}; known: {', '.join(known)}")
    return known[lower]


@cache
def known_hardware() -> Mapping[str, HardwareSpec]:
    """Every accelerator of `hardware.yaml`, by name, in the file's order."""
    # Both are needed for this file only; together they cost more than the rest of the command's start.
    import yaml
    from pydantic import BaseModel, ConfigDict, TypeAdapter

    class Entry(BaseModel):
        model_config = ConfigDict(extra="forbid", strict=True)

        name: str
        device_name: str
        usable_gib: float
        compute_capability: str
        multiprocessors: int
        source: str

        def spec(self) -> HardwareSpec:
            major, minor = self.compute_capability.split(".")
            return HardwareSpec(
                name=self.name,
                device_name=self.device_name,
                usable_bytes=int(self.usable_gib * GIB),
                compute_capability=(int(major), int(minor)),
                multiprocessors=self.multiprocessors,
                source=self.source,
            )

    text = files("fakerun.hardware").joinpath("accelerators.yaml").read_text(encoding="utf-8")
    entries = TypeAdapter(list[Entry]).validate_python(yaml.safe_load(text))
    return {entry.name: entry.spec() for entry in entries}
