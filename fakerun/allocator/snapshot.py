"""Segments and their blocks, as `torch.cuda.memory_snapshot` shows them.

`DeviceCachingAllocator::snapshot` (c10/cuda/CUDACachingAllocator.cpp); keys and states are those that torch/cuda/_memory_viz.py reads
and that public snapshots have.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from fakerun.allocator.blocks import Block
from fakerun.allocator.statistics import PoolId


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockRecord:
    """A block. `state` is `active_allocated`, `active_pending_free` (freed, and other streams may use it) or `inactive`."""

    address: int
    nbytes: int
    requested_bytes: int
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentRecord:
    """A segment, or a range of an expandable one whose memory is mapped; its blocks in order of address. All sizes in bytes."""

    address: int
    nbytes: int
    stream: int
    is_large: bool
    is_expandable: bool
    pool_id: PoolId
    blocks: tuple[BlockRecord, ...]

    def as_torch(self, device: int) -> dict[str, Any]:
        """Its entry in `torch.cuda.memory_snapshot()`, without the frames of who allocated."""
        active = [block for block in self.blocks if block.state != "inactive"]
        return {
            "device": device,
            "address": self.address,
            "total_size": self.nbytes,
            "allocated_size": sum(block.nbytes for block in self.blocks if block.state == "active_allocated"),
            "active_size": sum(block.nbytes for block in active),
            "requested_size": sum(block.requested_bytes for block in active),
            "stream": self.stream,
            "segment_type": "large" if self.is_large else "small",
            "segment_pool_id": self.pool_id,
            "is_expandable": self.is_expandable,
            "frames": [],
            "blocks": [
                {
                    "address": block.address,
                    "size": block.nbytes,
                    "requested_size": block.requested_bytes,
                    "state": block.state,
                    "frames": [],
                }
                for block in self.blocks
            ],
        }


def segment_records(blocks: Iterable[Block]) -> tuple[SegmentRecord, ...]:
    """The segments that begin with one of these blocks, in order of address."""
    heads = [block for block in blocks if block.previous is None or not block.previous.mapped]
    return tuple(_segment_record(head) for head in sorted(heads, key=lambda head: head.address))


def _segment_record(head: Block) -> SegmentRecord:
    blocks = []
    block: Block | None = head
    while block is not None and block.mapped:
        blocks.append(BlockRecord(address=block.address, nbytes=block.nbytes, requested_bytes=block.requested_bytes, state=_state(block)))
        block = block.next
    return SegmentRecord(
        address=head.address,
        nbytes=sum(record.nbytes for record in blocks),
        stream=head.stream,
        is_large=not head.pool.is_small,
        is_expandable=head.expandable is not None,
        pool_id=head.pool.owner.pool_id,
        blocks=tuple(blocks),
    )


def _state(block: Block) -> str:
    if block.allocated:
        return "active_allocated"
    return "inactive" if block.is_free else "active_pending_free"
