"""Write `fakerun/hardware/kernel_tables/`: published and measured times of products and attention, reduced to what costs are taken from.

    git clone https://github.com/ai-dynamo/aiconfigurator
    python scripts/dev/kernel_tables.py --aiconfigurator aiconfigurator        # needs pyarrow and numpy

Of aiconfigurator (Apache-2.0) the parquet tables of linear layers (`gemm_perf`) and of prefill attention (`context_attention_perf`) of two
frameworks, which fill their matrices with random numbers; a third one's leave the weights uninitialised, which makes them faster. Times of
both are averaged where both have them. Of our own measurements (`fakerun/hardware/measured/`) attention. Our products are not in the
tables: the grid predicts them within 4 to 5 % in the median, and with our other products as neighbours it is no better.

Attention is written as its points, and as three numbers fitted to them by least squares of relative errors: a pass takes its operations
over a rate, a time of its own, and a time for each element of the queries. Each point predicted from the others of its setting is off by
1 to 4 % in the median (H100, H200), the nearest points' rates by 5 to 25 %.
"""

import argparse
import gzip
import json
import math
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
TABLES = ROOT / "fakerun/hardware/kernel_tables"
SYSTEMS = "aic-core/src/aiconfigurator_core/systems/data"

PRODUCTS = {
    "a100-80gb": ("a100_sxm", ("sglang/0.5.10",)),
    "h100-80gb": ("h100_sxm", ("trtllm/1.3.0rc20", "sglang/0.5.14")),
    "h200": ("h200_sxm", ("trtllm/1.3.0rc20", "sglang/0.5.14")),
    "b200": ("b200_sxm", ("trtllm/1.3.0rc20", "sglang/0.5.14")),
    "gb200": ("gb200", ("trtllm/1.3.0rc20", "sglang/0.5.14")),
}
"""By accelerator the directory in aiconfigurator, and frameworks. Of the A100 another framework has no products of more than 8,192 rows."""

ROWS = (16, 64, 128, 192, 256, 512, 768, 1024, 1280, 1536, 2048, 2560, 3072, 3584, 4096, 8192, 16384, 32768)
"""Of the 74 numbers of rows in the tables; columns and depths are kept as they are from 64 on."""

PUBLISHED_ATTENTION = {
    "a100-80gb": ("a100_sxm", "sglang/0.5.10", "flash"),
    "b200": ("b200_sxm", "trtllm/1.3.0rc20", "cudnn"),
    "gb200": ("gb200", "trtllm/1.3.0rc20", "cudnn"),
}
"""By accelerator the table of forward passes, and the kernel of torch that is nearest to the framework's."""

MEASURED = ("h100-80gb", "h200")

FLASH_FIGURES = {
    # head, causal: TFLOPS of forward and backward together by length, from 512 to 16,384
    (64, False): (132, 153, 162, 171, 175, 176),
    (64, True): (88, 119, 140, 156, 165, 171),
    (128, False): (150, 173, 187, 196, 201, 203),
    (128, True): (99, 133, 155, 173, 182, 189),
}
"""A100: github.com/Dao-AILab/flash-attention, assets/flash2_a100_fwd_bwd_benchmark.png; hidden size 2,048 and 16,384 tokens in all."""


class Aiconfigurator:
    """A clone, or its git directory."""

    def __init__(self, path: Path) -> None:
        self._git = ("git", "-C", str(path))
        self.commit = self._output("rev-parse", "HEAD").decode().strip()

    def table(self, path: str) -> list[dict[str, Any]]:
        """The rows of a parquet file of the tables."""
        import pyarrow.parquet as parquet

        rows: list[dict[str, Any]] = parquet.read_table(BytesIO(self._output("show", f"HEAD:{SYSTEMS}/{path}"))).to_pylist()
        return rows

    def _output(self, *words: str) -> bytes:
        return subprocess.run((*self._git, *words), check=True, capture_output=True).stdout


def products(source: Aiconfigurator, system: str, frameworks: Sequence[str]) -> dict[str, Any]:
    """The rates of products of bfloat16 on a grid of rows, columns and depths."""
    times: dict[tuple[int, int, int], list[float]] = {}
    for framework in frameworks:
        for row in source.table(f"{system}/gemm/{framework}/gemm_perf.parquet"):
            if row["gemm_dtype"] == "bfloat16" and row["latency"] > 0:
                times.setdefault((row["m"], row["n"], row["k"]), []).append(row["latency"])
    columns, depths = (sorted({key[axis] for key in times if key[axis] >= 64}) for axis in (1, 2))
    rates = []
    for m in ROWS:
        for n in columns:
            for k in depths:
                measured = times.get((m, n, k))
                rates.append(0 if measured is None else round(2 * m * n * k / (sum(measured) / len(measured)) * 1e-8))
    return {
        "dtype": "bfloat16",
        "source": f"aiconfigurator {source.commit[:9]}, {system}/gemm/{' and '.join(frameworks)}",
        "rows": ROWS,
        "columns": columns,
        "depths": depths,
        "tenths_of_tflops": rates,
    }


def published_attention(source: Aiconfigurator, system: str, framework: str, kernel: str) -> Iterator[dict[str, Any]]:
    """Rates of causal forward passes by heads in all and length."""
    points: dict[int, dict[tuple[int, int], list[float]]] = {}
    for row in source.table(f"{system}/attention/{framework}/context_attention_perf.parquet"):
        plain = row["attn_dtype"] == row["kv_cache_dtype"] == "bfloat16" and not row.get("window_size")
        if plain and row["isl"] >= 512 and row["num_key_value_heads"] <= row["num_heads"] and row["head_dim"] in (64, 128):
            heads = row["batch_size"] * row["num_heads"]
            flops = attention_flops({"head": row["head_dim"], "causal": True, "is_backward": False}, heads, row["isl"])
            points.setdefault(row["head_dim"], {}).setdefault((heads, row["isl"]), []).append(flops / row["latency"] * 1e-9)
    for head, by_shape in sorted(points.items()):
        kept = [(heads, length, _median(rates)) for (heads, length), rates in sorted(by_shape.items()) if _is_power_of_two(length)]
        label = f"aiconfigurator {source.commit[:9]}, {system}/attention/{framework}"
        yield _curve(kernel, False, head, True, label, [each for each in kept if each[0] >= _FEWEST_HEADS and _is_power_of_two(each[0])])


def flash_figures() -> Iterator[dict[str, Any]]:
    """FlashAttention-2 on an A100: the forward pass is taken to be 1.07 and the backward pass 0.965 as fast as both (measured: H100)."""
    for (head, causal), figures in FLASH_FIGURES.items():
        for backward, factor in ((False, 1.07), (True, 0.965)):
            points = [(2048 // head * 16384 // length, length, rate * factor) for length, rate in zip(_LENGTHS, figures, strict=True)]
            yield _curve("flash", backward, head, causal, "flash-attention, assets/flash2_a100_fwd_bwd_benchmark.png", points)


_FEWEST_HEADS = 4
_LENGTHS = (512, 1024, 2048, 4096, 8192, 16384)


def measured_attention(entries: Sequence[Mapping[str, Any]], accelerator: str) -> Iterator[dict[str, Any]]:
    """Rates by kernel, pass, head dimension and causality."""
    points: dict[tuple[str, bool, int, bool], list[tuple[int, int, float]]] = {}
    for each in entries:
        if each["kind"] == "attention" and each["name"] in ("flash", "cudnn", "efficient"):
            batches, heads, _, length, head = each["shape"]
            backward = each["pass"].startswith("back")
            flops = attention_flops({**each, "head": head, "is_backward": backward}, batches * heads, length)
            key = (each["name"], backward, head, each["causal"])
            points.setdefault(key, []).append((batches * heads, length, flops / each["us_median"] * 1e-6))
    for (kernel, backward, head, causal), curve in sorted(points.items()):
        yield _curve(kernel, backward, head, causal, f"measured/{accelerator}", sorted(curve))


def _curve(kernel: str, backward: bool, head: int, causal: bool, source: str, points: Sequence[tuple[int, int, float]]) -> dict[str, Any]:
    rounded = [[heads, length, round(rate, 1)] for heads, length, rate in points]
    return {"kernel": kernel, "is_backward": backward, "head": head, "causal": causal, "sources": [source], "points": rounded}


def fitted(curves: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """One curve for each setting, with its three numbers.

    Where there are few points the two times are those of the setting with most, of as large a head if there is one.
    """
    merged: dict[tuple[Any, ...], dict[str, Any]] = {}
    for each in curves:
        first = merged.setdefault(tuple(each[key] for key in _SETTING), each)
        if first is not each:
            first["points"] += each["points"]
            first["sources"] += each["sources"]
    for each in merged.values():
        peers = [other for other in merged.values() if (other["kernel"], other["is_backward"]) == (each["kernel"], each["is_backward"])]
        richest = max(
            peers, key=lambda other: (len(other["points"]) >= _FEWEST_POINTS and other["head"] == each["head"], len(other["points"]))
        )
        _, *times = fit(richest)
        us_per_tera, fixed_us, us_per_element = fit(each) if len(each["points"]) >= _FEWEST_POINTS else (_rate_only(each, *times), *times)
        each |= {"tflops": round(1e6 / us_per_tera, 1), "fixed_us": round(fixed_us, 2), "us_per_element": float(f"{us_per_element:.4g}")}
    return list(merged.values())


_SETTING = ("kernel", "is_backward", "head", "causal")
_FEWEST_POINTS = 4


def fit(curve: Mapping[str, Any]) -> tuple[float, float, float]:
    """Microseconds for 10^12 operations, for a pass, and for an element; none is negative. Least squares of relative errors."""
    import numpy

    rows, ones = [], []
    for heads, length, rate in curve["points"]:
        flops = attention_flops(curve, heads, length)
        us = flops / rate * 1e-6
        rows.append((flops * 1e-12 / us, 1 / us, heads * length * curve["head"] / us))
        ones.append(1.0)
    matrix, kept = numpy.array(rows), [0, 1, 2]
    while True:
        solution, *_ = numpy.linalg.lstsq(matrix[:, kept], numpy.array(ones), rcond=None)
        if min(solution) >= 0 or len(kept) == 1:
            break
        kept.pop(int(numpy.argmin(solution)))
    found = dict(zip(kept, map(float, solution), strict=True))
    return found.get(0, 0.0), found.get(1, 0.0), found.get(2, 0.0)


def _rate_only(curve: Mapping[str, Any], fixed_us: float, us_per_element: float) -> float:
    """Microseconds for 10^12 operations, the mean over the points, with given times."""
    found: list[float] = []
    for heads, length, rate in curve["points"]:
        flops = attention_flops(curve, heads, length)
        left = flops / rate * 1e-6 - fixed_us - us_per_element * heads * length * curve["head"]
        found.append(max(left, 0.5 * flops / rate * 1e-6) / (flops * 1e-12))
    return sum(found) / len(found)


def attention_flops(curve: Mapping[str, Any], heads: int, length: int) -> float:
    """Operations that the kernels execute: half of the square if causal, 2.5 times as many in a backward pass."""
    head: int = curve["head"]
    return 4.0 * length**2 * head * heads * (0.5 if curve["causal"] else 1.0) * (2.5 if curve["is_backward"] else 1.0)


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


def _is_power_of_two(number: int) -> bool:
    return math.log2(number).is_integer()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--aiconfigurator", type=Path, required=True, help="a clone, or its git directory")
    source = Aiconfigurator(parser.parse_args().aiconfigurator)
    for accelerator, (system, frameworks) in PRODUCTS.items():
        document: dict[str, Any] = {"products": [products(source, system, frameworks)], "attention": []}
        if accelerator in PUBLISHED_ATTENTION:
            document["attention"] += published_attention(source, *PUBLISHED_ATTENTION[accelerator])
        if accelerator == "a100-80gb":
            document["attention"] += flash_figures()
        if accelerator in MEASURED:
            entries = json.loads(gzip.decompress((ROOT / f"fakerun/hardware/measured/{accelerator}.json.gz").read_bytes()))["entries"]
            document["attention"] += measured_attention(entries, accelerator)
        document["attention"] = fitted(document["attention"])
        text = json.dumps(document, separators=(",", ":"))
        (TABLES / f"{accelerator}.json.gz").write_bytes(gzip.compress(text.encode(), mtime=0))


if __name__ == "__main__":
    main()
