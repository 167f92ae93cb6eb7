"""How many channels NCCL's kernels have: each occupies a multiprocessor, which computing kernels then lack."""

from fakerun.analysis.time.communication.placement import Placement
from fakerun.hardware.accelerator import Accelerator, Vendor
from fakerun.hardware.collective_times import CollectiveKind
from fakerun.hardware.outside_memory import LinkKind, outside_figures

_BYTES_A_CHANNEL = 2**16
"""An assumption: of less than about so much for each NCCL opens no further channel."""

_PAIRS = frozenset({CollectiveKind.SEND_RECV, CollectiveKind.ALL_TO_ALL, CollectiveKind.GATHER, CollectiveKind.SCATTER})


def occupied_multiprocessors(
    accelerator: Accelerator, kind: CollectiveKind, nbytes: float, where: Placement, *, is_linked: bool, multicasts: bool
) -> int:
    """Multiprocessors that the kernels of a call occupy on a device.

    `is_linked`: NVLink or XGMI joins the ranks of a node. `multicasts`: the switch reduces. The numbers of channels are those of
    `outside_memory.yaml`, the higher of a range.
    """
    if where.ranks == 1:
        return 0
    most = _most(accelerator, kind, where, is_linked=is_linked, multicasts=multicasts)
    return int(max(1, min(most, nbytes // _BYTES_A_CHANNEL)))


def _most(accelerator: Accelerator, kind: CollectiveKind, where: Placement, *, is_linked: bool, multicasts: bool) -> int:
    nccl = outside_figures().nccl
    if multicasts and where.nodes == 1:
        return nccl.nvls_channels.get(accelerator.compute_capability, nccl.channels[LinkKind.NVLINK].low)
    link = LinkKind.NETWORK if where.nodes > 1 else _link(accelerator, is_linked=is_linked)
    channels = nccl.channels[link]
    return channels.peer if kind in _PAIRS else channels.high


def _link(accelerator: Accelerator, *, is_linked: bool) -> LinkKind:
    if not is_linked:
        return LinkKind.PCIE
    return LinkKind.XGMI if accelerator.vendor is Vendor.AMD else LinkKind.NVLINK
