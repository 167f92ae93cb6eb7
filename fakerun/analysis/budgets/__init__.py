"""What a run must keep: the budgets of a job (`job.budgets`) held against what the analyses say of it, each as a `Check`.

A limit that is kept by what was measured, but of which not all is known, is not kept: the check says what is missing.
"""

from fakerun.analysis.budgets.check import Check
from fakerun.analysis.budgets.communication import communication_checks
from fakerun.analysis.budgets.findings import findings_checks
from fakerun.analysis.budgets.judged_run import JudgedRun
from fakerun.analysis.budgets.memory import fits_check, memory_checks
from fakerun.analysis.budgets.no_collectives import no_collectives_checks
from fakerun.analysis.budgets.step_time import step_time_checks

__all__ = ["JudgedRun", "checks_of"]


def checks_of(judged: JudgedRun) -> tuple[Check, ...]:
    """All checks of a run, but for the codes that are allowed: how many findings these leave out is known only when all are made."""
    return (
        *fits_check(judged),
        *memory_checks(judged),
        *communication_checks(judged),
        *step_time_checks(judged),
        *no_collectives_checks(judged),
        *findings_checks(judged),
    )
