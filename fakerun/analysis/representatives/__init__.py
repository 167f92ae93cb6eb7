"""Representatives: which ranks of a large world to simulate (`--ranks auto`), and what the others are then assumed to have done.

1. `sample_points` places the first ranks to simulate on the mesh: every pipeline stage, corners, probes of the other axes.
2. `equivalence` derives from the fingerprints of the simulated ranks which rank represents which others.
3. `selection` chooses the next ranks to simulate, until another one would add nothing, and says what is assumed.
4. `extrapolation` makes records of the ranks that were not simulated, for the analyses that need all ranks.
"""

from fakerun.analysis.representatives.extrapolation import assumed_records
from fakerun.analysis.representatives.selection import Representatives, Selection

__all__ = ["Representatives", "Selection", "assumed_records"]
