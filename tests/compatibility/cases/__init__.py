"""The cases of all areas; each area is a module with its `CASES`."""

from tests.compatibility.case import Case
from tests.compatibility.cases import collectives, data_parallel, expert_parallel, model_parallel, training

AREAS: dict[str, tuple[Case, ...]] = {
    "collectives": collectives.CASES,
    "data_parallel": data_parallel.CASES,
    "expert_parallel": expert_parallel.CASES,
    "model_parallel": model_parallel.CASES,
    "training": training.CASES,
}

CASES = tuple(case for cases in AREAS.values() for case in cases)
