"""`scripts/dev/kernel_tables.py`: what it reduces tables to, and that fakerun's files are made so of what is in the repository."""

import gzip
import json
from typing import Any

import pytest
from dev import kernel_tables
from dev.kernel_tables import (
    MEASURED,
    PRODUCTS,
    ROOT,
    ROWS,
    TABLES,
    attention_flops,
    fit,
    fitted,
    flash_figures,
    measured_attention,
    products,
)


class Tables:
    """Stands for a clone of aiconfigurator: the rows of files by path."""

    commit = "0123456789abcdef"

    def __init__(self, **files: list[dict[str, Any]]) -> None:
        self._files = files

    def table(self, path: str) -> list[dict[str, Any]]:
        return self._files[path.split("/")[2]]


def product(m: int, n: int, k: int, latency: float, dtype: str = "bfloat16") -> dict[str, Any]:
    """As aiconfigurator has it: in milliseconds."""
    return {"gemm_dtype": dtype, "m": m, "n": n, "k": k, "latency": latency}


def test_products_are_rates_on_a_grid_averaged_over_frameworks() -> None:
    one = [product(16, 64, 64, 2.0), product(16, 128, 64, 1.0), product(16, 32, 64, 1.0), product(16, 64, 64, 9.0, "float8")]
    two = [product(16, 64, 64, 4.0), product(64, 64, 128, 0.001), product(100, 64, 64, 1.0)]
    made = products(Tables(one=one, two=two), "h100_sxm", ("one", "two"))  # type: ignore[arg-type]
    assert (made["columns"], made["depths"], made["rows"]) == ([64, 128], [64, 128], ROWS)
    assert made["source"] == "aiconfigurator 012345678, h100_sxm/gemm/one and two"
    rates = made["tenths_of_tflops"]
    assert len(rates) == len(ROWS) * 2 * 2
    assert rates[0] == round(2 * 16 * 64 * 64 / 3e-3 / 1e11)
    assert rates[4 + 1] == round(2 * 64 * 64 * 128 / 1e-6 / 1e11) == 10
    assert sum(map(bool, rates)) == 1, "the others are below a tenth of a TFLOPS, or not measured"


@pytest.mark.parametrize(
    ("causal", "backward", "flops"),
    [(False, False, 4 * 1024**2 * 128 * 8), (True, False, 2 * 1024**2 * 128 * 8), (True, True, 5 * 1024**2 * 128 * 8)],
)
def test_flops_of_attention(causal: bool, backward: bool, flops: int) -> None:
    assert attention_flops({"head": 128, "causal": causal, "is_backward": backward}, 8, 1024) == flops


def curve(us_per_tera: float, fixed_us: float, us_per_element: float, shapes: list[tuple[int, int]], head: int = 128) -> dict[str, Any]:
    """Points of a kernel that takes exactly so long."""
    made: dict[str, Any] = {"kernel": "flash", "is_backward": False, "head": head, "causal": True, "sources": ["here"], "points": []}
    for heads, length in shapes:
        flops = attention_flops(made, heads, length)
        us = us_per_tera * flops * 1e-12 + fixed_us + us_per_element * heads * length * head
        made["points"].append([heads, length, flops / us * 1e-6])
    return made


SHAPES = [(8, 512), (8, 2048), (32, 1024), (32, 8192), (128, 4096)]


def test_the_three_numbers_of_a_kernel_are_found() -> None:
    assert fit(curve(1500.0, 12.0, 1e-6, SHAPES)) == pytest.approx((1500.0, 12.0, 1e-6), rel=1e-6)


def test_no_number_is_negative() -> None:
    """A kernel that gains on the roofline with size would have a negative time of its own."""
    made = curve(1500.0, 0.0, 0.0, SHAPES)
    made["points"][0][2] *= 1.3
    us_per_tera, fixed_us, us_per_element = fit(made)
    assert us_per_tera == pytest.approx(1500.0, rel=0.2)
    assert min(fixed_us, us_per_element) >= 0


def test_few_points_take_the_times_of_a_richer_setting_and_curves_of_one_setting_are_joined() -> None:
    poor = {**curve(3000.0, 12.0, 1e-6, SHAPES[:2]), "causal": False}
    first, second = curve(1500.0, 12.0, 1e-6, SHAPES[:3]), {**curve(1500.0, 12.0, 1e-6, SHAPES[3:]), "sources": ["there"]}
    rich, other = fitted([first, poor, second])
    assert (rich["sources"], len(rich["points"])) == (["here", "there"], 5)
    assert (rich["tflops"], rich["fixed_us"], rich["us_per_element"]) == (pytest.approx(666.7), 12.0, 1e-6)
    assert (other["fixed_us"], other["us_per_element"]) == (12.0, 1e-6)


def test_measured_attention_is_by_kernel_pass_head_and_mask() -> None:
    entry = {"kind": "attention", "name": "flash", "pass": "forward", "shape": [2, 16, 4, 1024, 64], "causal": True, "us_median": 100.0}
    backward = {**entry, "pass": "backward", "us_median": 250.0}
    others = [{**entry, "name": "math"}, {**entry, "kind": "norm"}]
    made = list(measured_attention([entry, backward, *others], "h100-80gb"))
    assert [(each["kernel"], each["is_backward"], each["head"], each["sources"]) for each in made] == [
        ("flash", False, 64, ["measured/h100-80gb"]),
        ("flash", True, 64, ["measured/h100-80gb"]),
    ]
    rate = round(attention_flops(made[0], 32, 1024) / 100e-6 * 1e-12, 1)
    assert [each["points"] for each in made] == [[[32, 1024, rate]], [[32, 1024, rate]]]


# -- what is in the repository --------------------------------------------------------------------------------------------------------


def table(accelerator: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(gzip.decompress((TABLES / f"{accelerator}.json.gz").read_bytes()))
    return content


def without_fit(curve: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in curve.items() if key not in ("tflops", "fixed_us", "us_per_element")}


@pytest.mark.parametrize("accelerator", MEASURED)
def test_attention_of_a_measured_card_is_what_is_made_of_its_measurements(accelerator: str) -> None:
    entries = json.loads(gzip.decompress((ROOT / f"fakerun/hardware/measured/{accelerator}.json.gz").read_bytes()))["entries"]
    assert table(accelerator)["attention"] == fitted(measured_attention(entries, accelerator))


@pytest.mark.parametrize("accelerator", PRODUCTS)
def test_the_numbers_of_each_kernel_are_fitted_to_the_points_beside_them(accelerator: str) -> None:
    attention = table(accelerator)["attention"]
    assert fitted(map(without_fit, attention)) == attention


def test_the_figure_of_flash_attention_is_in_the_table_of_the_a100() -> None:
    by_setting = {tuple(each[key] for key in kernel_tables._SETTING): each["points"] for each in table("a100-80gb")["attention"]}
    for each in flash_figures():
        assert each["points"] == by_setting[tuple(each[key] for key in kernel_tables._SETTING)][-len(each["points"]) :]
