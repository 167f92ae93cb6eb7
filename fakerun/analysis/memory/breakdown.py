"""What a set of memory blocks consists of: bytes by category, by module and by kind of tensor.

Repeated layers are one row: an index in a module's name becomes `*` (`layers.0`, `layers.1`, ... are `layers.*`), and the row
has their number. All bytes are allocated bytes.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from fakerun.call_site import CallSite
from fakerun.records.memory import Category, MemoryBlock


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleShare:
    """The blocks that one module, or `instances` modules of the same pattern, allocated. `module` is None outside any module."""

    module: str | None
    instances: int
    nbytes: int
    largest_category: Category


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorGroup:
    """`count` blocks that differ only in the index of their layer; `nbytes` is their sum."""

    category: Category
    module: str | None
    shape: tuple[int, ...]
    dtype: str
    call_site: CallSite | None
    count: int
    nbytes: int


def by_category(blocks: Iterable[MemoryBlock]) -> dict[Category, int]:
    """Bytes of every category, in the order of `Category`, including zeros."""
    totals = dict.fromkeys(Category, 0)
    for block in blocks:
        totals[block.category] += block.nbytes
    return totals


def by_module(blocks: Iterable[MemoryBlock], *, depth: int = 0) -> tuple[ModuleShare, ...]:
    """Bytes by module, aggregated with `rolled_up`, with repeated layers in one row; the largest first."""
    names: dict[str | None, set[str | None]] = {}
    totals: dict[str | None, dict[Category, int]] = {}
    for block in blocks:
        name = rolled_up(block.module, depth=depth)
        pattern = module_pattern(name)
        names.setdefault(pattern, set()).add(name)
        share = totals.setdefault(pattern, {})
        share[block.category] = share.get(block.category, 0) + block.nbytes
    shares = (
        ModuleShare(
            module=pattern,
            instances=len(names[pattern]),
            nbytes=sum(share.values()),
            largest_category=max(Category, key=lambda category: share.get(category, 0)),
        )
        for pattern, share in totals.items()
    )
    return tuple(sorted(shares, key=lambda share: (-share.nbytes, share.module or "")))


def by_tensor(blocks: Iterable[MemoryBlock]) -> tuple[TensorGroup, ...]:
    """Groups of equal tensors, the largest group first."""
    groups: dict[tuple[Category, str | None, tuple[int, ...], str, CallSite | None], list[int]] = {}
    for block in blocks:
        key = (block.category, module_pattern(block.module), block.shape, block.dtype, block.call_site)
        groups.setdefault(key, []).append(block.nbytes)
    tensors = (
        TensorGroup(
            category=category,
            module=module,
            shape=shape,
            dtype=dtype,
            call_site=call_site,
            count=len(sizes),
            nbytes=sum(sizes),
        )
        for (category, module, shape, dtype, call_site), sizes in groups.items()
    )
    return tuple(sorted(tensors, key=lambda group: (-group.nbytes, group.category, group.module or "", group.shape)))


def rolled_up(module: str | None, *, depth: int = 0) -> str | None:
    """The ancestor to which the module's bytes are added: its layer (the name up to the first index) and `depth` names below it.

    A module outside any layer keeps its first `depth + 2` names, so that the prefix of a wrapper does not hide it:
    `module.layers.3.attention.wq` becomes `module.layers.3`, `module.tok_embeddings` stays as it is.
    """
    if module is None:
        return None
    parts = module.split(".")
    layer = next((at for at, part in enumerate(parts) if part.isdecimal()), 1)
    return ".".join(parts[: layer + 1 + depth])


def module_pattern(module: str | None) -> str | None:
    """The module's name with every index replaced by `*`."""
    if module is None:
        return None
    return ".".join("*" if part.isdecimal() else part for part in module.split("."))
