"""Accelerator: the device that the script is made to believe in, its links and its node, as plain data; and the keys of its figures."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from fakerun.hardware.quantities import BITS, BYTES, BYTES_PER_S, CAPABILITY, COUNT, FLOPS, HERTZ, NAME, SECONDS, SHARE, WATTS, Quantity


class Vendor(StrEnum):
    """Whose device it is; it decides between CUDA and ROCm builds of torch."""

    NVIDIA = "nvidia"
    AMD = "amd"


@dataclass(frozen=True, slots=True, kw_only=True)
class Interconnect:
    """How a device reaches others. Rates are bytes per second in one direction and per device; None is not known, or there is none.

    `domain_size` is the number of devices that reach each other over `link`; it may be more than a node has. `nic_latency_s` is what
    messages of a few bytes take beyond one node in a collective of two.
    """

    link: str | None = None
    link_bytes_per_s: float | None = None
    domain_size: int | None = None
    pcie_generation: int | None = None
    pcie_lanes: int | None = None
    devices_per_node: int | None = None
    nics_per_node: int | None = None
    nic_bytes_per_s: float | None = None
    nic_latency_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """One model of accelerator. What is None is not known.

    `name` is how fakerun calls it, `device_name` what the driver calls it (`torch.cuda.get_device_name()`). `usable_bytes` is the total
    memory that the driver reports, less than `nominal_bytes`; `driver_reserved_bytes` is what it keeps beside that. `multiprocessors`
    counts SMs (NVIDIA) or compute units (AMD). Rates of operations are of the matrix units (of the vector units for float32), dense.
    `clock_hz` and `memory_clock_hz` are the highest that the driver reports. `memory_share` and `product_share` are what kernels reach of
    the bandwidth, and large products of 16-bit numbers of the peak: in a short measurement, `sustained_product_share` without a pause, at
    the clock that the power limit leaves; `sustained_attention` is what attention reaches then of a short measurement, if it does not slow
    down as products do. `kernel_tables` names the accelerator whose tables of kernels stand for this one's
    (`fakerun.hardware.kernel_tables`). `overrides` maps a figure's key to the text that the user gave for it.
    """

    name: str
    vendor: Vendor
    device_name: str
    usable_bytes: int
    compute_capability: tuple[int, int]
    multiprocessors: int
    gcn_architecture: str | None = None
    driver_reserved_bytes: int | None = None
    nominal_bytes: int | None = None
    memory_bytes_per_s: float | None = None
    memory_clock_hz: int | None = None
    memory_bus_bits: int | None = None
    clock_hz: int | None = None
    l2_cache_bytes: int | None = None
    shared_memory_bytes: int | None = None
    threads_per_multiprocessor: int | None = None
    registers_per_multiprocessor: int | None = None
    float32_flops: float | None = None
    tf32_flops: float | None = None
    float16_flops: float | None = None
    bfloat16_flops: float | None = None
    float8_flops: float | None = None
    float4_flops: float | None = None
    power_limit_w: float | None = None
    memory_share: float | None = None
    product_share: float | None = None
    sustained_product_share: float | None = None
    sustained_attention: float | None = None
    kernel_tables: str | None = None
    interconnect: Interconnect = Interconnect()
    overrides: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_amd(self) -> bool:
        """Whether a ROCm build of torch runs on it."""
        return self.vendor is Vendor.AMD

    def __str__(self) -> str:
        """As `--hardware` takes it: `h100-80gb,memory=94GiB`."""
        return ",".join((self.name, *(f"{key}={text}" for key, text in self.overrides.items())))


FIGURES: Mapping[str, Quantity] = {
    "device_name": NAME,
    "memory": BYTES,
    "compute_capability": CAPABILITY,
    "multiprocessors": COUNT,
    "gcn_architecture": NAME,
    "driver_reserved": BYTES,
    "nominal_memory": BYTES,
    "memory_bandwidth": BYTES_PER_S,
    "memory_clock": HERTZ,
    "memory_bus_width": BITS,
    "clock": HERTZ,
    "l2_cache": BYTES,
    "shared_memory": BYTES,
    "threads_per_multiprocessor": COUNT,
    "registers_per_multiprocessor": COUNT,
    "float32": FLOPS,
    "tf32": FLOPS,
    "float16": FLOPS,
    "bfloat16": FLOPS,
    "float8": FLOPS,
    "float4": FLOPS,
    "power_limit": WATTS,
    "memory_share": SHARE,
    "product_share": SHARE,
    "sustained_product_share": SHARE,
    "sustained_attention": SHARE,
    "kernel_tables": NAME,
    "link": NAME,
    "link_bandwidth": BYTES_PER_S,
    "link_domain_size": COUNT,
    "pcie_generation": COUNT,
    "pcie_lanes": COUNT,
    "devices_per_node": COUNT,
    "nics_per_node": COUNT,
    "nic_bandwidth": BYTES_PER_S,
    "nic_latency": SECONDS,
}
"""The keys that figures have in the data file, in a job file and on the command line, and what each is an amount of."""

REQUIRED = ("device_name", "memory", "compute_capability", "multiprocessors")
"""What every accelerator must have: without these nothing can be simulated."""


def accelerator_of(name: str, vendor: Vendor, values: Mapping[str, Any], overrides: Mapping[str, str]) -> Accelerator:
    """The accelerator with these figures, by key, each parsed by its quantity."""
    known: dict[str, Any] = dict.fromkeys(FIGURES) | dict(values)
    return Accelerator(
        name=name,
        vendor=vendor,
        device_name=known["device_name"],
        usable_bytes=known["memory"],
        compute_capability=known["compute_capability"],
        multiprocessors=known["multiprocessors"],
        gcn_architecture=known["gcn_architecture"],
        driver_reserved_bytes=known["driver_reserved"],
        nominal_bytes=known["nominal_memory"],
        memory_bytes_per_s=known["memory_bandwidth"],
        memory_clock_hz=known["memory_clock"],
        memory_bus_bits=known["memory_bus_width"],
        clock_hz=known["clock"],
        l2_cache_bytes=known["l2_cache"],
        shared_memory_bytes=known["shared_memory"],
        threads_per_multiprocessor=known["threads_per_multiprocessor"],
        registers_per_multiprocessor=known["registers_per_multiprocessor"],
        float32_flops=known["float32"],
        tf32_flops=known["tf32"],
        float16_flops=known["float16"],
        bfloat16_flops=known["bfloat16"],
        float8_flops=known["float8"],
        float4_flops=known["float4"],
        power_limit_w=known["power_limit"],
        memory_share=known["memory_share"],
        product_share=known["product_share"],
        sustained_product_share=known["sustained_product_share"],
        sustained_attention=known["sustained_attention"],
        kernel_tables=known["kernel_tables"],
        interconnect=_interconnect_of(known),
        overrides=overrides,
    )


def _interconnect_of(known: Mapping[str, Any]) -> Interconnect:
    return Interconnect(
        link=known["link"],
        link_bytes_per_s=known["link_bandwidth"],
        domain_size=known["link_domain_size"],
        pcie_generation=known["pcie_generation"],
        pcie_lanes=known["pcie_lanes"],
        devices_per_node=known["devices_per_node"],
        nics_per_node=known["nics_per_node"],
        nic_bytes_per_s=known["nic_bandwidth"],
        nic_latency_s=known["nic_latency"],
    )
