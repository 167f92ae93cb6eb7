"""Files of measurements: what they say, and the errors of broken ones."""

from dataclasses import replace
from pathlib import Path

import pytest

from fakerun.errors import UsageError
from fakerun.hardware.calibration import NO_CALIBRATION, Calibration, MeasuredProduct
from fakerun.hardware.catalogue import hardware_named
from fakerun.hardware.collective_times import CollectiveKind
from fakerun.job.calibration_file import read_calibrations

NCCL_TESTS = Path(__file__).parent / "nccl_tests_outputs"
TABLE = """\
# timed with torch.utils.benchmark
m,n,k,dtype,us
8192,4096,1024,bfloat16,100
8192, 4096, 1024, fp8, 50.5
"""
MAPPING = """\
products:
- {m: 8192, n: 4096, k: 1024, dtype: bf16, tflops: 500}
step_s: 2.84
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def read(*texts: str) -> Calibration:
    paths = [Path(f"{number}.txt") for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text)
    return read_calibrations(paths)


def product(dtype: str, seconds: float) -> MeasuredProduct:
    return MeasuredProduct(m=8192, n=4096, k=1024, dtype=dtype, seconds=seconds)


def test_a_table_of_products() -> None:
    assert read(TABLE) == Calibration(products=(product("bfloat16", 100 * 1e-6), product("float8_e4m3fn", 50.5 * 1e-6)), files=("0.txt",))


def test_a_rate_is_two_operations_for_each_multiplication() -> None:
    found = read(MAPPING)
    assert (found.step_s, found.files) == (2.84, ("0.txt",))
    assert found.products == (product("bfloat16", 2 * 8192 * 4096 * 1024 / (500 * 1e12)),)


def test_of_several_files_the_last_goes_first() -> None:
    both = read(TABLE, MAPPING)
    assert [each.dtype for each in both.products] == ["bfloat16", "bfloat16", "float8_e4m3fn"]
    assert both.products[0].seconds > both.products[1].seconds
    assert (both.step_s, both.files) == (2.84, ("1.txt", "0.txt"))


def test_nothing_measured_is_false() -> None:
    assert not NO_CALIBRATION
    assert read("step_s: 1\n")


def test_what_nccl_tests_printed() -> None:
    (run,) = read((NCCL_TESTS / "p5_srun.txt").read_text()).collectives
    assert (run.kind, run.ranks, run.points[-1]) == (CollectiveKind.ALL_REDUCE, 16, (17179869184, 66132 * 1e-6))


def test_runs_of_nccl_tests_beside_a_step() -> None:
    both = read((NCCL_TESTS / "p5_srun.txt").read_text(), "step_s: 2\n")
    assert (len(both.collectives), both.step_s, both.files) == (1, 2.0, ("1.txt", "0.txt"))


def test_a_part_of_what_nccl_tests_printed() -> None:
    few = (NCCL_TESTS / "p5_srun.txt").read_text().splitlines()[:6]
    with pytest.raises(UsageError, match=r"^0\.txt: nccl-tests' rates are too low to tell what was measured: keep the lines before"):
        read("\n".join(few))


FORMS = "give a table of products (m,n,k,dtype,us or tflops) as CSV or YAML, step_s: 2.84, or what nccl-tests printed"
BROKEN = {
    "empty": ("", [f"0.txt:1: has no measurement; {FORMS}"]),
    "text": ("hello", [f"0.txt:1: is no measurement; {FORMS}"]),
    "unknown key": ("step: 2\n", ["0.txt:1: step: unknown key (did you mean 'step_s'?); allowed: products, step_s"]),
    "no seconds": ("step_s: 2.9s\n", ["0.txt:1: step_s: must be a number above 0, not the string '2.9s'"]),
    "nothing in it": (
        "products: []\n",
        [f"0.txt:1: has no measurement; {FORMS}"],
    ),
    "products as text": ("products: all\n", ["0.txt:1: products: must be a list of products, not the string 'all'"]),
    "product as text": (
        "products: [all]\n",
        ["0.txt:1: products[0]: must be a mapping ({m: 8192, n: 4096, k: 4096, dtype: bfloat16, us: 412}), not the string 'all'"],
    ),
    "more rows than any number of bytes": (
        f"products:\n- {{m: {'9' * 400}, n: 4, k: 4, dtype: bf16, us: 4}}\n",
        [f"0.txt:2: products[0].m: must be a whole number from 1 to 2^40, not the number {'9' * 400}"],
    ),
    "parts of a product": (
        "products:\n- {m: 0, n: 4, dtype: int8, us: -1, kk: 1}\n",
        [
            "0.txt:2: products[0].kk: unknown column (did you mean 'k'?); allowed: m, n, k, dtype, us, tflops",
            "0.txt:2: products[0].m: must be a whole number from 1 to 2^40, not the number 0",
            "0.txt:2: products[0].k: is missing",
            "0.txt:2: products[0].dtype: 'int8' is not known; known: bfloat16, float16, float32, float8_e4m3fn, float8_e5m2, "
            "bf16, fp16, half, fp32, float, fp8, float8",
            "0.txt:2: products[0].us: must be a number above 0, not the number -1",
        ],
    ),
    "two times": ("m,n,k,dtype,us,tflops\n1,1,1,bf16,1,1\n", ["0.txt:2: us and tflops are given: keep one"]),
    "no time": ("m,n,k,dtype\n1,1,1,bf16\n", ["0.txt:2: the time is missing: give us (microseconds) or tflops"]),
    "unknown column": ("m,n,k,type,us\n", ["0.txt:1: type: unknown column (did you mean 'dtype'?); allowed: m, n, k, dtype, us, tflops"]),
    "too few cells": ("m,n,k,dtype,us\n1,1,1,bf16,1\n1,1\n", ["0.txt:3: has 2 cells, and the header 5"]),
    "a header alone": ("m,n,k,dtype,us\n", ["0.txt:1: has no row below its header"]),
    "no number": ("m,n,k,dtype,us\n1,1,1,bf16,fast\n", ["0.txt:2: us: must be a number above 0, not the string 'fast'"]),
}


@pytest.mark.parametrize(("text", "messages"), BROKEN.values(), ids=BROKEN.keys())
def test_broken(text: str, messages: list[str]) -> None:
    with pytest.raises(UsageError) as error:
        read(text)
    assert str(error.value).splitlines() == messages


@pytest.mark.parametrize(
    "row", ["9" * 400 + " 1 float sum -1 5 18.9 33.08 0", "9" * 5000 + " 1 float sum -1 5 18.9 33.08 0", "8 2 float sum -1 nan nan nan 0"]
)
def test_rows_of_nccl_tests_that_no_run_prints(row: str) -> None:
    ranks = f"# Using devices\n#  Rank {'9' * 5000} Group 0 Pid 1 on a device 0 [0x1] NVIDIA H100 80GB HBM3\n"

    with pytest.raises(UsageError, match=r"^0\.txt: no result of nccl-tests in it"):
        read(f"{ranks}{row}\n")


def test_two_measured_steps() -> None:
    with pytest.raises(UsageError, match=r"^1.txt: step_s is also given in 0.txt: keep one, that of the job$"):
        read(MAPPING, MAPPING)


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(UsageError, match=r"^nope.csv: cannot read the file: No such file or directory$"):
        read_calibrations([Path("nope.csv")])


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("m,n,k,dtype,us\n8192,8192,8192,bf16,2000\n8192,8192,8192,bf16,1\n", 3),
        ("products:\n- {m: 8192, n: 8192, k: 8192, dtype: bf16, us: 2000}\n- {m: 8192, n: 8192, k: 8192, dtype: bf16, tflops: 2000}\n", 3),
    ],
)
def test_a_product_faster_than_the_peak_rate_is_refused_with_its_line(text: str, line: int) -> None:
    with pytest.raises(UsageError, match=rf"^0.txt:{line}: 8192x8192x8192 bfloat16 in .* the peak rate of h100-80gb is 989") as refused:
        read(text).check_hardware(hardware_named("h100-80gb"))
    assert len(str(refused.value).splitlines()) == 1


def test_a_product_somewhat_above_the_peak_rate_or_of_a_card_without_one_is_taken() -> None:
    near = read("products: [{m: 8192, n: 8192, k: 8192, dtype: bf16, tflops: 1080}]\n")
    near.check_hardware(hardware_named("h100-80gb"))
    read("products: [{m: 8192, n: 8192, k: 8192, dtype: bf16, tflops: 9000}]\n").check_hardware(
        replace(hardware_named("h100-80gb"), bfloat16_flops=None)
    )
