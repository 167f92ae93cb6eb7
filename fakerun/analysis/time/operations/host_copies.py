"""Copies between the host and a device."""

from fakerun.analysis.time.costs import Basis, OperationCost, OperationKind
from fakerun.analysis.time.operations.described_operation import DescribedOperation, distinct_bytes
from fakerun.analysis.time.operations.rates import LAUNCH_S, Rates

_PINNED_BYTES_PER_S = {3: 12.0e9, 4: 25.0e9, 5: 54.6e9}
"""By generation of PCIe, 16 lanes: 5 is measured, 3 and 4 are as much of the link."""
_LANES = 16
_USUAL_GENERATION = 4
_PAGEABLE_S = 12e-6
_PAGEABLE_BYTES_PER_S = 9.0e9
"""Pageable memory: what the smallest copy takes, and the rate of large ones (measured: 7.0 to 13.8 GB/s)."""


def is_host_copy(operation: DescribedOperation) -> bool:
    """Whether a copy has the host at one end; a number that is on the host is an argument."""
    return operation.operator in ("copy_", "_to_copy", "device_put") and any(
        each.on_host for each in (*operation.tensors, *operation.results)
    )


def host_copy_cost(operation: DescribedOperation, rates: Rates) -> OperationCost:
    """A copy: of pinned memory if it does not block the host, else it is taken to be of pageable memory."""
    moved = max(map(distinct_bytes, (*operation.tensors, *operation.results)), default=0)
    link = rates.accelerator.interconnect
    pinned = _PINNED_BYTES_PER_S.get(link.pcie_generation or _USUAL_GENERATION, 25.0e9) * (link.pcie_lanes or _LANES) / _LANES
    asynchronous = True in (*operation.operands.flags, operation.operands.named.get("non_blocking"))
    seconds = LAUNCH_S + moved / pinned if asynchronous else _PAGEABLE_S + moved / min(pinned, _PAGEABLE_BYTES_PER_S)
    return OperationCost(kind=OperationKind.HOST_COPY, seconds=seconds, basis=Basis.ROOFLINE, moved_bytes=moved)
