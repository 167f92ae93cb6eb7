"""The sections on the time of a step: the estimate and where it comes from, what the step is spent on, the critical path."""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import TypeVar

from fakerun.analysis.time.costs import Basis
from fakerun.analysis.time.estimate import Correction, ModuleTime, NoEstimate, StepEstimate, StepFigures
from fakerun.analysis.time.step_time import AxisTime, PathEntry, RankStepTime
from fakerun.analysis.time.utilisation import CONVENTION, Utilisation
from fakerun.report.page.blocks import Clip, Column, Fact, Facts, Prose, Row, Section, SideBySide, Table, Tone
from fakerun.units import format_ranks, format_seconds, format_share

Kind = TypeVar("Kind", bound=StrEnum)

_PATH_SHOWN = 8
_MODULES_SHOWN = 8
_MODULE_WIDTH = 22
_LEAST_SHARE = 0.001
"""Of a step: what takes less is in no table."""
_LEAST_GAIN_S = 1e-9
"""A gain that is less is the rounding of sums of times."""

WHAT_IS_ESTIMATED = (
    "Estimated, without running: each operation and each call has a cost from tables of published and own measurements, else from the "
    "rates of the card; they are played on the streams of all ranks."
)
OF_PUBLIC_RUNS = "The constant comes from public runs of other people's machines, not from yours: --calibrate takes what you measured."


def time_sections(estimate: StepEstimate | NoEstimate) -> tuple[Section, ...]:
    """What is known of the time of a step of the slowest ranks; why nothing is known, where that is so."""
    if isinstance(estimate, NoEstimate):
        return (Section(title="Step time", blocks=(Prose(text=f"not known: {estimate.reason}"),)),)
    slowest = estimate.summed.slowest
    return (
        Section(
            title="Step time",
            remark=Prose(text=", ".join(headline(estimate.figures))),
            blocks=(Facts(facts=tuple(_facts(estimate))), *_said(estimate)),
        ),
        Section(
            title="What the step is spent on",
            remark=Prose(text=_whose(estimate)),
            blocks=(SideBySide(left=_kinds(estimate), right=_kernels(slowest)), *_communication(estimate), *_modules(estimate)),
            level=2,
        ),
        *_critical_path(estimate),
    )


def headline(figures: StepFigures | None) -> Iterator[str]:
    """`2.79 s a step`, `41 % MFU`, `5,870 tokens/s per GPU`: the figures of the result's line; none where no step time is known.

    `at least 13.0 ms a step without communication between nodes`, `at most 40 % MFU` where something has no known cost.
    """
    if figures is None:
        return
    least, most = ("at least ", "at most ") if figures.without else ("", "")
    yield f"{least}{format_seconds(figures.seconds)} a step" + (f" without {figures.without}" if figures.without else "")
    if figures.mfu:
        yield f"{most}{100 * figures.mfu:.0f} % MFU" + (" (above the card's peak)" if figures.mfu > 1 else "")
    if figures.tokens_per_s_per_device is not None:
        yield f"{most}{figures.tokens_per_s_per_device:,.0f} tokens/s per GPU"


def _facts(estimate: StepEstimate) -> Iterator[Fact]:
    yield Fact(label="step", values=tuple(_step(estimate)))
    yield from _range(estimate)
    yield Fact(label="utilisation", values=tuple(_utilisation(estimate.utilisation)))
    yield Fact(label="tokens", values=tuple(_tokens(estimate.utilisation)))
    slowest = estimate.summed.slowest
    yield Fact(label="kernel costs", values=tuple(_bases(slowest.basis_s)))
    if slowest.call_basis_s:
        yield Fact(label="call costs", values=tuple(_bases(slowest.call_basis_s)))


def _step(estimate: StepEstimate) -> Iterator[str]:
    """The estimate, and apart from it the sum and what that is divided by."""
    summed = format_seconds(estimate.summed.seconds)
    if estimate.correction is Correction.NONE:
        yield from (f"{summed} summed", "expect a step to take longer")
        return
    yield from (format_seconds(estimate.seconds), f"{summed} summed / {estimate.explained:.3f} ({estimate.correction})")


def _range(estimate: StepEstimate) -> Iterator[Fact]:
    """How far published runs of the kind are from what would be said of them."""
    if estimate.correction is Correction.MEASURED:
        return
    if estimate.without:
        yield Fact(label="range", values=("not known", f"{estimate.without} counts as 0 s"))
        return
    if estimate.published is None or estimate.low_s is None or estimate.high_s is None:
        yield Fact(label="range", values=("not known", "no similar published run was compared"))
        return
    published, runs = estimate.published, len(estimate.published.runs)
    error = f"{100 * (published.low - 1):+.0f}..{100 * (published.high - 1):+.0f} %"
    values = [
        f"{format_seconds(estimate.low_s)} to {format_seconds(estimate.high_s)}",
        f"{error} on {runs} similar published run{'s' * (runs != 1)}",
        *([] if published.same_generation else ["none of this very kind on such a card"]),
        *([f"and {100 * estimate.margin:.0f} % for a card that was not measured"] if estimate.margin else []),
    ]
    yield Fact(label="range", values=tuple(values))


def _utilisation(used: Utilisation) -> Iterator[str]:
    if used.mfu is None or used.hfu is None or used.peak_flops is None:
        yield f"{used.flops.model / 1e12:.0f} TFLOP a rank and step; the card's peak rate is not known"
        return
    yield f"{100 * used.mfu:.1f} % MFU, {100 * used.hfu:.1f} % HFU ({CONVENTION})"
    yield f"of {used.peak_flops / 1e12:.0f} TFLOPS {used.peak_dtype}"


def _tokens(used: Utilisation) -> Iterator[str]:
    tokens = used.tokens
    if tokens.count is None or used.tokens_per_s is None or used.tokens_per_s_per_device is None:
        yield from (*f"not known: {tokens.origin}".split(", "), "pass --tokens-per-step")
        return
    yield from (f"{used.tokens_per_s:,.0f} tokens/s", f"{used.tokens_per_s_per_device:,.0f} per GPU")
    yield from f"{tokens.count:,} a step: {tokens.origin}".split(", ")


def _bases(seconds: Mapping[Basis, float]) -> Iterator[str]:
    """`measured 62 %`, the best first."""
    total = sum(seconds.values())
    shown = [basis for basis in Basis if seconds.get(basis, 0.0) > 0]
    yield from (f"{basis} {format_share(seconds[basis], total)}" for basis in shown) if shown else ("none",)


def _said(estimate: StepEstimate) -> Iterator[Prose]:
    yield from (Prose(text=f"{remark[0].upper()}{remark[1:]}.") for remark in estimate.remarks)
    constant = f" {OF_PUBLIC_RUNS}" if estimate.correction is Correction.PUBLISHED else ""
    yield Prose(text=WHAT_IS_ESTIMATED + constant, tone=Tone.MUTED)


def _whose(estimate: StepEstimate) -> str:
    ranks = estimate.summed.slowest.ranks
    verb = "are" if len(ranks) > 1 else "is"
    slowest = f" {verb} the slowest" if len(estimate.summed.ranks) > 1 else ""
    return f"step {estimate.summed.step}; rank{'s' * (len(ranks) > 1)} {format_ranks(ranks)}{slowest}"


def _time_table(heading: str, seconds: Mapping[Kind, float], whole: float, *, totals: tuple[Row, ...] = ()) -> Table:
    """Times, the longest first; what is nearly nothing is left out."""
    columns = (Column(heading=heading), Column(heading="time", align="right"), Column(heading="", align="right"))
    shown = sorted((each for each in seconds if seconds[each] > _LEAST_SHARE * whole), key=lambda each: -seconds[each])
    rows = tuple(Row(cells=(each, format_seconds(seconds[each]), format_share(seconds[each], whole))) for each in shown)
    return Table(columns=columns, rows=rows, totals=totals)


def _kinds(estimate: StepEstimate) -> Table:
    """What the sum is made of, and what is not modelled, so that both add up to the step."""
    whole = estimate.seconds
    more = estimate.not_modelled_s
    added = (
        ()
        if estimate.correction is Correction.NONE
        else (Row(cells=("not modelled", format_seconds(more), format_share(more, whole) if more > 0 else f"{100 * more / whole:.0f} %")),)
    )
    return _time_table("kind", estimate.summed.slowest.kinds, whole, totals=(*added, Row(cells=("step", format_seconds(whole), ""))))


def _kernels(slowest: RankStepTime) -> Table:
    return _time_table("kernels", slowest.kernel_s, slowest.seconds)


def _communication(estimate: StepEstimate) -> Iterator[Table]:
    """By axis: how long calls transfer, how much of it nothing hides, and what the step would gain if they took no time."""
    axes = estimate.summed.slowest.communication
    if not axes:
        return
    columns = (
        Column(heading="communication", clip=Clip.KEEP_START, min_width=12),
        *(Column(heading=heading, align="right") for heading in ("calls", "time")),
        Column(heading="hidden", align="right", priority=3),
        Column(heading="exposed", align="right"),
        Column(heading="waiting", align="right", priority=1),
        Column(heading="gain if free", align="right", priority=2),
    )
    yield Table(columns=columns, rows=tuple(_axis(axis, estimate.summed.gains_s.get(axis.label)) for axis in axes))


def _axis(axis: AxisTime, gain_s: float | None) -> Row:
    times = (axis.seconds, axis.hidden_s, axis.exposed_s, axis.waiting_s)
    gain = "-" if gain_s is None else format_seconds(gain_s if gain_s > _LEAST_GAIN_S else 0.0)
    return Row(cells=(axis.label, str(axis.calls), *map(format_seconds, times), gain))


def _modules(estimate: StepEstimate) -> Iterator[Table]:
    whole = estimate.summed.seconds
    if estimate.modules:
        columns = (
            Column(heading="module", clip=Clip.KEEP_MODULE, max_width=_MODULE_WIDTH),
            Column(heading="", align="right"),
            Column(heading="kernels", align="right"),
            Column(heading="", align="right"),
        )
        yield Table(columns=columns, rows=tuple(_module_row(each, whole) for each in estimate.modules[:_MODULES_SHOWN]))


def _module_row(each: ModuleTime, whole: float) -> Row:
    name = "(outside modules)" if each.module is None else each.module
    times = f"x {each.instances}" if each.instances > 1 else ""
    return Row(cells=(name, times, format_seconds(each.seconds), format_share(each.seconds, whole)))


def _critical_path(estimate: StepEstimate) -> Iterator[Section]:
    path = estimate.path
    if not path:
        return
    columns = (
        Column(heading="on the critical path", clip=Clip.KEEP_START, min_width=28),
        Column(heading="", align="right"),
        Column(heading="time", align="right"),
        Column(heading="", align="right"),
        Column(heading="kind", priority=2),
        Column(heading="module", clip=Clip.KEEP_MODULE, min_width=18, priority=1),
        Column(heading="at", clip=Clip.KEEP_FILE, min_width=16),
    )
    rows = [_path_row(entry, estimate.summed.seconds) for entry in path[:_PATH_SHOWN]]
    if rest := path[_PATH_SHOWN:]:
        seconds = sum(entry.seconds for entry in rest)
        share = format_share(seconds, estimate.summed.seconds)
        rows.append(Row(cells=("all else", f"x {sum(entry.count for entry in rest)}", format_seconds(seconds), share, "", "", "")))
    yield Section(
        title="Critical path",
        remark=Prose(text="the step is as long as this; a shorter entry makes it shorter"),
        blocks=(Table(columns=columns, rows=tuple(rows)),),
        level=2,
    )


def _path_row(entry: PathEntry, whole: float) -> Row:
    return Row(
        cells=(
            entry.name.removeprefix("aten.").removesuffix(".default") + (f" over {entry.label}" if entry.label else ""),
            f"x {entry.count}" if entry.count > 1 else "",
            format_seconds(entry.seconds),
            format_share(entry.seconds, whole),
            entry.kind,
            "-" if entry.module is None else entry.module or "(root)",
            str(entry.call_site or "-"),
        )
    )
