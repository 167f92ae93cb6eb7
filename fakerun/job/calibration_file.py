"""`--calibrate FILE`: what the user measured, in one of the forms that it is there in. Checked before anything runs.

A table of matrix products, as CSV or YAML, the seconds of a whole step, or what nccl-tests printed:

    m,n,k,dtype,us
    8192,4096,4096,bfloat16,412.5

    products: [{m: 8192, n: 4096, k: 4096, dtype: bfloat16, tflops: 667}]
    step_s: 2.84

    # Using devices
    ...
    1048576 262144 float sum -1 55.47 18.90 33.08 0
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import TypeAlias

from fakerun.errors import UsageError
from fakerun.hardware.calibration import DTYPES, NO_CALIBRATION, PRODUCT_DTYPES, Calibration, MeasuredProduct
from fakerun.hardware.nccl_tests_output import is_nccl_tests_output, read_nccl_tests_output
from fakerun.job.document import MOST_PROBLEMS, Key, dotted, read_text
from fakerun.job.validation import shown
from fakerun.job.yaml_document import YamlDocument
from fakerun.spelling import did_you_mean
from fakerun.units import is_count

MOST_BYTES = 1 << 22
"""Of a file of measurements: a table of some ten thousand products."""

_SIZES = ("m", "n", "k")
_LARGEST_SIZE = 1 << 40
"""No device has memory for such a row; the FLOPs of three of them are still a float."""
_TIMES = ("us", "tflops")
_COLUMNS = (*_SIZES, "dtype", *_TIMES)
_KEYS = ("products", "step_s")
_FORMS = "a table of products (m,n,k,dtype,us or tflops) as CSV or YAML, step_s: 2.84, or what nccl-tests printed"

Noted: TypeAlias = list[tuple[tuple[Key, ...], str]]
"""Errors that were found, each with the path of the part that it is in."""


def read_calibrations(paths: Sequence[Path]) -> Calibration:
    """What the files say together; of what two say of the same, the later one counts, but runs of nccl-tests are averaged.

    Raises:
        UsageError: one of them is wrong, or two have the seconds of a step.
    """
    found, step_file = NO_CALIBRATION, ""
    for path in paths:
        calibration = read_calibration(path)
        if calibration.step_s is not None:
            if step_file:
                raise UsageError(f"{path}: step_s is also given in {step_file}: keep one, that of the job")
            step_file = str(path)
        found = calibration.over(found)
    return found


def read_calibration(path: Path) -> Calibration:
    """What one file says.

    Raises:
        UsageError: `file:line: key: what is wrong, what is allowed`, a line for each error.
    """
    text = read_text(path, most_bytes=MOST_BYTES)
    if is_nccl_tests_output(text):
        return _of_nccl_tests(path, text)
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip() and not line.lstrip().startswith("#")]
    if not lines:
        raise UsageError(f"{path}:1: has no measurement; give {_FORMS}")
    if _is_table(lines[0][1]):
        return _of_table(path, lines)
    return _of_yaml(path)


def _of_nccl_tests(path: Path, text: str) -> Calibration:
    try:
        return Calibration(collectives=read_nccl_tests_output(text), files=(str(path),))
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def _is_table(line: str) -> bool:
    """Whether the line has the names of columns: `m,n,k,dtype,us`."""
    return {"m", "n", "k"} <= {cell.strip().lower() for cell in line.split(",")}


def _of_table(path: Path, lines: Sequence[tuple[int, str]]) -> Calibration:
    (first, header), *rows = lines
    columns = [cell.strip().lower() for cell in header.split(",")]
    problems = [f"{path}:{first}: {_unknown(name)}" for name in columns if name not in _COLUMNS]
    products = []
    for number, line in rows if not problems else ():
        product, found = _product_of_line(columns, line)
        problems.extend(f"{path}:{number}: {message}" for message in found)
        products.extend([] if product is None else [replace(product, place=f"{path}:{number}")])
    if not problems and not products:
        problems.append(f"{path}:{first}: has no row below its header")
    if problems:
        raise UsageError("\n".join(_shortened(path, problems)))
    return Calibration(products=tuple(products), files=(str(path),))


def _product_of_line(columns: Sequence[str], line: str) -> tuple[MeasuredProduct | None, Sequence[str]]:
    """The product of a line of a table, or what is wrong with it."""
    (cells,) = csv.reader([line])
    if len(cells) != len(columns):
        return None, [f"has {len(cells)} cells, and the header {len(columns)}"]
    noted: Noted = []
    product = _product(dict(zip(columns, map(_number, cells), strict=True)), noted)
    return product, [f"{dotted(key)}: {message}" if key else message for key, message in noted]


def _shortened(path: Path, problems: Sequence[str]) -> Iterator[str]:
    yield from problems[:MOST_PROBLEMS]
    if len(problems) > MOST_PROBLEMS:
        yield f"{path}: {len(problems) - MOST_PROBLEMS} more errors"


def _number(cell: str) -> object:
    """A cell as a number, if it is one."""
    text = cell.strip()
    if is_count(text):
        return int(text)
    try:
        return float(text)
    except ValueError:
        return text


def _of_yaml(path: Path) -> Calibration:
    document = YamlDocument(path, most_bytes=MOST_BYTES)
    noted: Noted = []
    products, step_s = _of_mapping(document.value, noted)
    placed = (replace(each, place=f"{path}:{document.line(('products', row))}") for row, each in enumerate(products))
    for key, message in noted:
        document.refuse(key, message)
    document.raise_problems()
    return Calibration(products=tuple(placed), step_s=step_s, files=(str(path),))


def _of_mapping(value: object, noted: Noted) -> tuple[Sequence[MeasuredProduct], float | None]:
    if not isinstance(value, dict):
        noted.append(((), f"is no measurement; give {_FORMS}"))
        return (), None
    noted.extend(((key,), f"unknown key{did_you_mean(key, _KEYS)}; allowed: {', '.join(_KEYS)}") for key in value if key not in _KEYS)
    step_s = _positive("step_s", value["step_s"], noted) if "step_s" in value else None
    products = list(_products(value.get("products", []), noted))
    if not noted and step_s is None and not products:
        noted.append(((), f"has no measurement; give {_FORMS}"))
    return products, step_s


def _products(value: object, noted: Noted) -> Iterator[MeasuredProduct]:
    if not isinstance(value, list):
        noted.append((("products",), f"must be a list of products, not {shown(value)}"))
        return
    for index, row in enumerate(value):
        place = ("products", index)
        if not isinstance(row, dict):
            noted.append((place, f"must be a mapping ({{m: 8192, n: 4096, k: 4096, dtype: bfloat16, us: 412}}), not {shown(row)}"))
            continue
        of_row: Noted = []
        product = _product(row, of_row)
        noted.extend(((*place, *key), message) for key, message in of_row)
        if product is not None:
            yield product


def _product(row: Mapping[str, object], noted: Noted) -> MeasuredProduct | None:
    """The product of a row; None if something of it is wrong, which is noted."""
    noted.extend(((key,), _unknown(key).partition(": ")[2]) for key in row if key not in _COLUMNS)
    m, n, k = (_size(key, row.get(key), noted) for key in _SIZES)
    dtype = _dtype(row.get("dtype"), noted)
    given = [key for key in _TIMES if key in row]
    if len(given) != 1:
        why = f"{' and '.join(given)} are given: keep one" if given else "the time is missing: give us (microseconds) or tflops"
        noted.append(((), why))
        return None
    amount = _positive(given[0], row[given[0]], noted)
    if noted or m is None or n is None or k is None or dtype is None or amount is None:
        return None
    seconds = amount * 1e-6 if given[0] == "us" else 2 * m * n * k / (amount * 1e12)
    return MeasuredProduct(m=m, n=n, k=k, dtype=dtype, seconds=seconds)


def _unknown(column: str) -> str:
    return f"{column}: unknown column{did_you_mean(column, _COLUMNS)}; allowed: {', '.join(_COLUMNS)}"


def _size(key: str, value: object, noted: Noted) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _LARGEST_SIZE:
        return value
    noted.append(((key,), "is missing" if value is None else f"must be a whole number from 1 to 2^40, not {shown(value)}"))
    return None


def _dtype(value: object, noted: Noted) -> str | None:
    lower = value.strip().lower() if isinstance(value, str) else ""
    name = DTYPES.get(lower, lower)
    if name in PRODUCT_DTYPES:
        return name
    given = "is missing" if value is None else f"{value!r} is not known"
    noted.append((("dtype",), f"{given}; known: {', '.join((*PRODUCT_DTYPES, *DTYPES))}"))
    return None


def _positive(key: str, value: object, noted: Noted) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < inf:
        return float(value)
    noted.append(((key,), f"must be a number above 0, not {shown(value)}"))
    return None
