"""A job that stands for several: its matrix has a list of values for some of its keys, and there is a job for each combination of them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

from fakerun.job.document import Key
from fakerun.job.layers import LayeredJob
from fakerun.spelling import did_you_mean

MOST_JOBS = 256
"""Of a file, when each matrix is expanded: a run of each takes seconds."""

MATRIX = "matrix"
EXCLUDE = "exclude"
_VARIABLES = "env."


@dataclass(frozen=True, slots=True, kw_only=True)
class Combination:
    """One job of a matrix. `label` tells its values, as in `mesh=2x4,hardware=h200`; `chosen` has for each key the index of its value."""

    label: str
    chosen: Mapping[str, int]


def combinations(job: LayeredJob, matrix: object, keys: Iterable[str]) -> tuple[Combination, ...]:
    """The jobs of a matrix, the last key's values changing fastest; errors are noted in the job, and there are none then."""
    labels = _labels(job, matrix, tuple(keys))
    if labels is None or not isinstance(matrix, dict):
        return ()
    number = prod(map(len, labels.values()))
    if number > MOST_JOBS:
        job.refuse((MATRIX,), f"has {number} combinations; at most {MOST_JOBS} jobs can be described in one file")
        return ()
    excluded = _excluded(job, matrix.get(EXCLUDE, []), labels)
    if excluded is None:
        return ()
    every = (dict(zip(labels, indices, strict=True)) for indices in product(*(range(len(each)) for each in labels.values())))
    kept = [chosen for chosen in every if not any(_has(chosen, each) for each in excluded)]
    if not kept:
        job.refuse((MATRIX, EXCLUDE), "excludes every combination; remove one of its entries")
    return tuple(
        Combination(label=",".join(f"{key}={labels[key][index]}" for key, index in chosen.items()), chosen=chosen) for chosen in kept
    )


def with_values(value: Mapping[str, Any], matrix: Mapping[str, Any], chosen: Mapping[str, int]) -> dict[str, Any]:
    """The keys of a job with those of a combination in their places."""
    changed = {key: each for key, each in value.items() if key != MATRIX}
    for key, index in chosen.items():
        if key.startswith(_VARIABLES):
            variables = changed.get("env", {})
            changed["env"] = {**(variables if isinstance(variables, dict) else {}), key.removeprefix(_VARIABLES): matrix[key][index]}
        else:
            changed[key] = matrix[key][index]
    return changed


def path_of(key: str) -> tuple[Key, ...]:
    """Where a key of a matrix is in the job: `env.NAME` is a variable."""
    return ("env", key.removeprefix(_VARIABLES)) if key.startswith(_VARIABLES) else (key,)


def _labels(job: LayeredJob, matrix: object, keys: Sequence[str]) -> dict[str, tuple[str, ...]] | None:
    """The values of each key as text; None if something is wrong with them."""
    example = "{mesh: [2x4, 8x1], hardware: [h100-80gb, h200]}"
    if not isinstance(matrix, dict):
        job.refuse((MATRIX,), f"must be a mapping from keys of the job to lists of values, as in {example}")
        return None
    lists = {key: values for key, values in matrix.items() if key != EXCLUDE}
    if not lists:
        job.refuse((MATRIX,), f"has no key; give keys of the job with lists of values, as in {example}")
        return None
    wrong = {key: message for key, values in lists.items() if (message := _why_wrong(key, values, keys))}
    for key, message in wrong.items():
        job.refuse((MATRIX, key), message)
    if wrong:
        return None
    labels = {key: tuple(_label(job, (MATRIX, key, index), value) for index, value in enumerate(lists[key])) for key in lists}
    for key, texts in labels.items():
        for index, text in enumerate(texts):
            if text in texts[:index]:
                job.refuse((MATRIX, key, index), f"{text} is given twice; keep one")
    return None if job.is_wrong else labels


def _why_wrong(key: str, values: object, keys: Sequence[str]) -> str | None:
    if not (key in keys or (key.startswith(_VARIABLES) and key != _VARIABLES)):
        return f"is no key of a job{did_you_mean(key, keys)}; allowed: {', '.join(keys)}, env.NAME, {EXCLUDE}"
    if not isinstance(values, list) or not values:
        return f"must be a list of the values of {key}, at least one"
    return None


def _label(job: LayeredJob, path: tuple[Key, ...], value: object) -> str:
    if isinstance(value, dict):
        return ",".join(f"{key}={_label_of_part(job, (*path, key), each)}" for key, each in value.items())
    if isinstance(value, list):
        return " ".join(_label_of_part(job, (*path, index), each) for index, each in enumerate(value))
    return job.text(path)


def _label_of_part(job: LayeredJob, path: tuple[Key, ...], value: object) -> str:
    return "..." if isinstance(value, dict | list) else job.text(path)


def _excluded(job: LayeredJob, entries: object, labels: Mapping[str, tuple[str, ...]]) -> list[dict[str, int]] | None:
    """For each entry, the values that a combination has which it excludes; None if one is wrong."""
    where: tuple[Key, ...] = (MATRIX, EXCLUDE)
    if not isinstance(entries, list):
        job.refuse(where, "must be a list of combinations, as in [{mesh: 8x1, hardware: h200}]")
        return None
    excluded = [dict(_indices(job, (*where, index), entry, labels)) for index, entry in enumerate(entries)]
    return None if job.is_wrong else excluded


def _indices(job: LayeredJob, path: tuple[Key, ...], entry: object, labels: Mapping[str, tuple[str, ...]]) -> Iterator[tuple[str, int]]:
    if not isinstance(entry, dict) or not entry:
        job.refuse(path, f"must be a mapping from keys of the matrix to a value of each; its keys: {', '.join(labels)}")
        return
    for key, value in entry.items():
        if key not in labels:
            job.refuse((*path, key), f"is no key of the matrix{did_you_mean(key, labels)}; its keys: {', '.join(labels)}")
            continue
        text = _label(job, (*path, key), value)
        if text not in labels[key]:
            job.refuse((*path, key), f"{text} is no value of {key} in the matrix; its values: {', '.join(labels[key])}")
            continue
        yield key, labels[key].index(text)


def _has(chosen: Mapping[str, int], excluded: Mapping[str, int]) -> bool:
    return all(chosen[key] == index for key, index in excluded.items())
