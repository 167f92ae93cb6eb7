"""The schema of the mapping `budgets` in job files, and Budgets from one."""

from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag

from fakerun.errors import UsageError
from fakerun.hardware.quantities import BYTES, SECONDS
from fakerun.job.budgets import (
    EVERY_DEVICE,
    Budgets,
    CodeBudget,
    CommunicationBudget,
    MemoryBudget,
    MemoryKey,
    NoCollectives,
    Required,
    StepTimeBudget,
    VolumeKey,
    parse_memory_limit,
    parse_selection,
)
from fakerun.job.document import Key
from fakerun.job.validation import shown, valid_if, with_own_message
from fakerun.records.collective import CollectiveOp, Phase
from fakerun.records.finding_code import FindingCode
from fakerun.spelling import did_you_mean

_SIMILAR = 0.8
"""How near to a key the name of a group must be to be taken for a mistyped key: mesh axes have any name."""

INTER_NODE = "inter_node"
_NAMES = (*(key.value for key in VolumeKey), INTER_NODE, *(op.value for op in CollectiveOp))
_PHASES = tuple(phase.value for phase in Phase)


def _amount(value: object) -> object:
    if not isinstance(value, str):
        raise UsageError(f"must be an amount of memory (72GiB) or a share of the accelerator's (90%), not {shown(value)}")
    parse_memory_limit(value)
    return value


def _size(value: object) -> object:
    if not isinstance(value, str):
        raise UsageError(f"must be an amount with a unit (40GiB), not {shown(value)}")
    BYTES.parse(value)
    return value


def _time(value: object) -> object:
    if not isinstance(value, str):
        raise UsageError(f"must be a time with a unit (2.9s, 900ms), not {shown(value)}")
    SECONDS.parse(value)
    return value


def _selection(text: str) -> str:
    parse_selection(text)
    return text


def _place(value: object) -> object:
    """A phase, or a pattern of module names."""
    if not isinstance(value, str) or not value.strip():
        raise UsageError(f"must be a phase ({', '.join(_PHASES)}) or a module (layers.*.attention), not {shown(value)}")
    if not all(part.strip() for part in value.split(".")):
        raise UsageError(f"{value!r} is not a module: write names and patterns with dots between them, as in layers.*.attention")
    if "." not in value and value not in _PHASES and (near := get_close_matches(value, _PHASES, cutoff=_SIMILAR)):
        raise UsageError(f"{value!r} is neither a phase nor a module (did you mean {near[0]!r}?); phases: {', '.join(_PHASES)}")
    return value


def _code(value: object) -> object:
    known = [code.value for code in FindingCode]
    if not isinstance(value, str):
        raise UsageError(f"must be the code of a finding (tight-fit), not {shown(value)}")
    if value not in known:
        raise UsageError(f"no finding has the code {value!r}{did_you_mean(value, known)}; docs/findings.md lists all")
    return value


def _group_name(name: str) -> str:
    """The name of a group, which may be any; one that nearly is a key is taken for a mistyped one."""
    near = get_close_matches(name, _NAMES, cutoff=_SIMILAR)
    if near and name not in _NAMES:
        raise UsageError(f"unknown key (did you mean {near[0]!r}?); allowed: {', '.join(_NAMES)}, or an axis of the mesh")
    if not name.strip():
        raise UsageError(f"is not a name; allowed: {', '.join(_NAMES)}, or an axis of the mesh")
    return name


def _mapping_or_text(value: object) -> str:
    return "<map>" if isinstance(value, dict) else "<text>"


AmountText = Annotated[str, BeforeValidator(with_own_message(_amount))]
SizeText = Annotated[str, BeforeValidator(with_own_message(_size))]
TimeText = Annotated[str, BeforeValidator(with_own_message(_time))]
SelectionText = Annotated[str, valid_if(_selection)]
MemoryLimits = Annotated[
    Annotated[dict[SelectionText, AmountText], Tag("<map>")] | Annotated[AmountText, Tag("<text>")], Discriminator(_mapping_or_text)
]
"""One limit for every device, or limits of ranks, places in the mesh and devices."""
Calls = Annotated[int, Field(ge=0)]
Place = Annotated[str, BeforeValidator(with_own_message(_place))]
CodeText = Annotated[str, BeforeValidator(with_own_message(_code))]


class _Mapping(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class VolumeLimits(_Mapping):
    """The most that a rank may communicate in a step: message bytes, bus bytes, calls."""

    bytes: SizeText | None = None
    bus_bytes: SizeText | None = None
    calls: Calls | None = None


class InterNodeLimits(_Mapping):
    """The most that a rank may send to other nodes in a step, and its calls that do."""

    bytes: SizeText | None = None
    calls: Calls | None = None


class CommunicationLimits(VolumeLimits):
    """Limits on all communication, on that between nodes, and by operation or axis of the mesh (every other key)."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)
    __pydantic_extra__: dict[Annotated[str, valid_if(_group_name)], VolumeLimits]

    inter_node: InterNodeLimits | None = None


class FindingsLimits(_Mapping):
    """Codes of findings that fail the run, and those that do not count."""

    forbid: list[CodeText] = []
    allow: list[CodeText] = []


class BudgetsFile(_Mapping):
    """The keys of `budgets`."""

    peak_allocated: MemoryLimits | None = None
    peak_reserved: MemoryLimits | None = None
    device_total: MemoryLimits | None = None
    headroom: MemoryLimits | None = None
    communication: CommunicationLimits | None = None
    step_time: TimeText | None = None
    no_collectives_in: list[Place] = []
    no_unawaited_async: bool = False
    ranks_agree: bool = True
    fits: bool = True
    findings: FindingsLimits = FindingsLimits()


Source = Callable[[Sequence[Key]], str]
"""Where the part of `budgets` at a path is written: `fakerun.yaml:12`."""


def budgets_of(file: BudgetsFile, source: Source) -> Budgets:
    """The budgets that the mapping asks for. Those that hold by default come from the mapping as a whole."""
    return Budgets(
        memory=tuple(budget for key in MemoryKey for budget in _memory(file, key, source)),
        communication=() if file.communication is None else tuple(_communication(file.communication, source)),
        step_time=None if file.step_time is None else _step_time(file.step_time, source(("step_time",))),
        no_collectives=tuple(_no_collectives(place, source(("no_collectives_in", n))) for n, place in enumerate(file.no_collectives_in)),
        ranks_agree=Required(on=file.ranks_agree, source=source(("ranks_agree",))),
        fits=Required(on=file.fits, source=source(("fits",))),
        no_unawaited_async=Required(source=source(("no_unawaited_async",))) if file.no_unawaited_async else None,
        allowed=_codes(file.findings.allow, "allow", source),
        forbidden=_codes(file.findings.forbid, "forbid", source),
    )


def _memory(file: BudgetsFile, key: MemoryKey, source: Source) -> Iterator[MemoryBudget]:
    given: dict[str, str] | str | None = getattr(file, key)
    if isinstance(given, str):
        yield MemoryBudget(key=key, of=EVERY_DEVICE, limit=parse_memory_limit(given), source=source((key,)))
    for selection, limit in given.items() if isinstance(given, dict) else ():
        yield MemoryBudget(key=key, of=parse_selection(selection), limit=parse_memory_limit(limit), source=source((key, selection)))


def _communication(limits: CommunicationLimits, source: Source) -> Iterator[CommunicationBudget]:
    parts: dict[str, VolumeLimits | InterNodeLimits] = {"": limits}
    if limits.inter_node is not None:
        parts[INTER_NODE] = limits.inter_node
    parts |= limits.__pydantic_extra__
    for scope, part in parts.items():
        for key in VolumeKey:
            given: str | int | None = getattr(part, key, None)
            if given is not None:
                yield CommunicationBudget(
                    key=key,
                    most=given if isinstance(given, int) else int(BYTES.parse(given)),
                    text=str(given),
                    source=source(tuple(filter(None, ("communication", scope, key)))),
                    op=CollectiveOp(scope) if scope in tuple(CollectiveOp) else None,
                    group=scope if scope and scope not in _NAMES else None,
                    is_inter_node=scope == INTER_NODE,
                )


def _step_time(text: str, source: str) -> StepTimeBudget:
    return StepTimeBudget(most_s=float(SECONDS.parse(text)), text=text.strip(), source=source)


def _no_collectives(place: str, source: str) -> NoCollectives:
    is_phase = place in tuple(Phase)
    return NoCollectives(
        name=f"no_collectives_in.{place}", phase=Phase(place) if is_phase else None, module=None if is_phase else place, source=source
    )


def _codes(names: Sequence[str], key: str, source: Source) -> tuple[CodeBudget, ...]:
    return tuple(CodeBudget(code=FindingCode(name), source=source(("findings", key, n))) for n, name in enumerate(names))
