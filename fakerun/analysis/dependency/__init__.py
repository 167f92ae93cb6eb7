"""Who waits for whom: in which order each rank issues its calls, and which call can complete only after which other one.

1. `simulated_world`: the simulated ranks and their process groups; equal schedules are stored once.
2. `issue_order`: the calls of a rank without their payload: whom each one is matched with, what it runs after, when the rank waits for it.
3. `rank_partition`: ranks with the same issue order form one class; partition refinement splits a class whose ranks have peers of
   different classes.
4. `wait_for_graph`: the calls of all classes as a graph, and which of them can never complete.

The room knows nothing of findings: matching asks it for deadlocks and consequences, step time for what a call waits for.
"""

from fakerun.analysis.dependency.issue_order import IssuedCall, IssueOrder, Queue
from fakerun.analysis.dependency.rank_partition import RankPartition
from fakerun.analysis.dependency.simulated_world import Direction, Group, RankView, SimulatedWorld, UniqueSchedule, direction_of
from fakerun.analysis.dependency.wait_for_graph import Dependency, WaitForGraph

__all__ = [
    "Dependency",
    "Direction",
    "Group",
    "IssueOrder",
    "IssuedCall",
    "Queue",
    "RankPartition",
    "RankView",
    "SimulatedWorld",
    "UniqueSchedule",
    "WaitForGraph",
    "direction_of",
]
