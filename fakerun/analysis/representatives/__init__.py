"""Representatives: which ranks of a large world to simulate (`--ranks auto`), and what the others are then assumed to have done.

1. `rank_columns` evaluates functions of the rank, as programs test them, for every rank of the world.
2. `outcomes` groups the ranks for which all known tests come out the same; `created_groups` tells who is in which process group.
3. `sample_points` places the first ranks to simulate on the mesh: every pipeline stage, corners, probes of the other axes.
4. `equivalence` derives from both, and from the fingerprints of the simulated ranks, which rank represents which others.
5. `selection` chooses the next ranks to simulate, until another one would add nothing; `assumptions` says what is assumed.
6. `extrapolation` makes records of the ranks that were not simulated, for the analyses that need all ranks.
"""

from fakerun.analysis.representatives.assumptions import unfollowed_uses
from fakerun.analysis.representatives.created_groups import CreatedGroups
from fakerun.analysis.representatives.equivalence import Equivalence
from fakerun.analysis.representatives.extrapolation import Counterparts, assumed_records
from fakerun.analysis.representatives.outcomes import Outcomes
from fakerun.analysis.representatives.rank_columns import RankColumns
from fakerun.analysis.representatives.selection import MAX_CLASSES, Representatives, Selection

__all__ = [
    "MAX_CLASSES",
    "Counterparts",
    "CreatedGroups",
    "Equivalence",
    "Outcomes",
    "RankColumns",
    "Representatives",
    "Selection",
    "assumed_records",
    "unfollowed_uses",
]
