"""HardwareSpec: the accelerator that the script is to believe in."""

from dataclasses import dataclass


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
