"""Closed formulas: what each program in scripts/ communicates and holds, worked out from the numbers of the job alone.

Plain Python, no torch and nothing of fakerun, so that what is computed here and what is observed elsewhere can agree only by both being
right. Each formula names the rule of torch that it follows; `test_formulas.py` holds them against real processes.

Sizes are in elements, one tuple per tensor. Bytes are what a storage holds, before an allocator rounds it.
"""

from tests.oracles.formulas.collective import Collective
from tests.oracles.formulas.ddp import collectives_of_ddp
from tests.oracles.formulas.fsdp import collectives_of_fsdp
from tests.oracles.formulas.memory import Footprint, ddp_footprint, fsdp_footprint
from tests.oracles.formulas.model import Job, Shape, parameter_count, parameters

__all__ = [
    "Collective",
    "Footprint",
    "Job",
    "Shape",
    "collectives_of_ddp",
    "collectives_of_fsdp",
    "ddp_footprint",
    "fsdp_footprint",
    "parameter_count",
    "parameters",
]
