"""Do the simulated ranks agree? Their communication is matched group by group, call by call, and checked for deadlocks.

Pure functions over records. A finding says which ranks differ from which, at which call of which group, on which lines, and what to do.
A rank that is blocked waits in the last of its recorded calls. What it would do after that is not known: nothing is missing there.

The steps, and the modules that take them, in order (`verdict` calls them):

 1. `dependency.simulated_world` collects ranks and groups; ranks with equal schedules share one.
 2. `compare.interning` numbers the signatures of calls, so that comparing ranks is comparing numbers; `compare.group_classes` puts groups
    whose members do the same into one class, which is compared once.
 3. `compare.group_membership` and `compare.group_creation` check that ranks create the same groups, in the same order.
 4. `compare.collectives` and `compare.p2p` find the first position at which the members of a group diverge, and describe the mismatch.
 5. `compare.call_checks` and `compare.call_sites` check the calls before that position: sizes that do not add up, different lines.
 6. `dependency.issue_order`, `.rank_partition` and `.wait_for_graph` determine which call can complete only after which other one.
 7. `root_cause` separates the mismatches that are causes from those that wait for the calls of another one, or follow it on the same ranks.
 8. `deadlock.cycles` finds ranks that wait for each other where no mismatch explains it, `deadlock.blocked_ranks` those whose record ends
    where they wait; `deadlock.order_inversion` finds collectives in flight that may become such a deadlock.
 9. `rank_checks` adds what is wrong on one rank whatever the others do.
"""

from fakerun.analysis.matching.verdict import matching_findings

__all__ = ["matching_findings"]
