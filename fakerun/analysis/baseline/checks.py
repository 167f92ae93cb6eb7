"""The checks of a run against its baseline: one for each quantity, and one more for each further difference in it."""

from collections.abc import Iterator, Sequence

from fakerun.analysis.baseline.difference import Difference, DifferenceKind
from fakerun.analysis.budgets.check import Check
from fakerun.job.tolerances import EXACT, Tolerances
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding


def drift_finding(difference: Difference) -> Finding:
    """The difference as a finding of severity error."""
    return Finding(code=FindingCode.BASELINE_DRIFT, message=difference.message, call_site=difference.call_site)


def baseline_checks(differences: Sequence[Difference], tolerances: Tolerances, source: str) -> Iterator[Check]:
    """A check for each kind of difference that there is none of, and one for each difference. `source` is the file of the baseline."""
    for kind, name in _NAMES.items():
        limit = _limit(kind, tolerances)
        of_kind = [difference for difference in differences if difference.kind is kind]
        for difference in of_kind:
            where = "; ".join(difference.classes)
            measured = difference.what
            yield Check(
                name=name, subject=where, limit=limit, measured=measured, passed=False, source=source, finding=drift_finding(difference)
            )
        if not of_kind:
            yield Check(name=name, subject="", limit=limit, measured="as in the baseline", passed=True, source=source)


_NAMES = {
    DifferenceKind.MESH: "baseline.mesh",
    DifferenceKind.RANKS: "baseline.ranks",
    DifferenceKind.ENDING: "baseline.ending",
    DifferenceKind.CALLS: "baseline.calls",
    DifferenceKind.MESSAGES: "baseline.messages",
    DifferenceKind.DEVICES: "baseline.devices",
    DifferenceKind.PARAMETERS: "baseline.parameters",
    DifferenceKind.MEMORY: "baseline.memory",
}


def _limit(kind: DifferenceKind, tolerances: Tolerances) -> str:
    match kind:
        case DifferenceKind.MESSAGES:
            return tolerances.messages.text
        case DifferenceKind.PARAMETERS:
            return tolerances.parameters.text
        case DifferenceKind.MEMORY:
            return f"{tolerances.allocated.text} allocated, {tolerances.reserved.text} reserved"
    return EXACT.text
