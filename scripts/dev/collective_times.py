"""Write the times of `fakerun/hardware/collective_times.json` from the files of their publishers.

    git clone https://github.com/ai-dynamo/aiconfigurator clones/ai-dynamo+aiconfigurator     # and the others, each OWNER+NAME
    python scripts/dev/collective_times.py --clones clones              # aiconfigurator needs pyarrow
    python scripts/dev/collective_times.py --clones clones --check      # writes nothing: is the file what its sources say?

Fetches nothing. The file says of each source where it is, under which licence, and how it was measured; `SOURCES` says in which file of
which repository its rows are, and at which commit they were read. Three forms are read: what nccl-tests prints, tables of bus rates, and
the parquet tables of aiconfigurator. Which curves the file has, and of tables of rates which sizes, is as it was: rows were left out where
rates are printed with too few digits. Curves whose clone is not given stay, and so do those of pages, issues and documents that no
repository has; the command lists them.
"""

import argparse
import json
import re
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

from fakerun.hardware.collective_times import DATA_FILE, CollectiveKind, bus_share
from fakerun.hardware.nccl_tests_output import printed_points

Curve = Mapping[str, Any]
"""As the file has it."""
Points = dict[int, float]
"""Microseconds by bytes."""

SMALLEST_BYTES = 1024
"""Of printed outputs: below it all sizes take the same time."""


class Clones:
    """A directory of clones, or of their git directories, by the name OWNER+NAME; the git directory may be in `repo` there."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def has(self, repository: str) -> bool:
        return self._path(repository).exists()

    def content(self, repository: str, commit: str, path: str) -> bytes:
        """A file of a commit."""
        command = ["git", "-C", str(self._path(repository)), "show", f"{commit}:{path}"]
        return subprocess.run(command, check=True, capture_output=True).stdout

    def _path(self, repository: str) -> Path:
        path = self._directory / repository.replace("/", "+")
        return path / "repo" if (path / "repo").exists() else path


class Form(Protocol):
    """How the rows of a curve are read from the content of a file."""

    def read(self, content: bytes, curve: Curve) -> Points: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Printed:
    """What nccl-tests prints, out of place; the file may have several outputs, one after the other."""

    number: int = 0

    def read(self, content: bytes, curve: Curve) -> Points:
        """The rows from 1 KiB on."""
        points = printed_points(content.decode())[self.number]
        return {nbytes: round(seconds * 1e6, 2) for nbytes, seconds in points if nbytes >= SMALLEST_BYTES}


@dataclass(frozen=True, slots=True, kw_only=True)
class BusRates:
    """A table of bus rates in GB/s in Markdown or text, with a column of sizes (`64KiB`, `65K`): the first behind a line with `after`."""

    after: str
    column: int = 1

    def read(self, content: bytes, curve: Curve) -> Points:
        """The times of the sizes that the curve has: bytes times the bus factor, over the rate."""
        _, _, text = content.decode().partition(self.after)
        rates = dict(_rates(text.splitlines(), self.column))
        share = bus_share(CollectiveKind(curve["op"]), curve["ranks"])
        return {nbytes: round(nbytes * share / rates[nbytes] * 1e-3, 2) for nbytes, _ in curve["bytes_us"]}


_SIZE = re.compile(r"^\|?\s*([\d.]+)\s*([KMG])(?:iB)?\s*\|")


def _rates(lines: Sequence[str], column: int) -> Iterator[tuple[int, float]]:
    """Bytes and GB/s. Sizes are powers of two, which some print in thousands: 65K."""
    found = False
    for line in lines:
        size = _SIZE.match(line)
        if size is None:
            if found:
                return
            continue
        found = True
        rate = line.strip().strip("|").split("|")[column].strip().removesuffix("GBps")
        yield _power_of_two(float(size[1]) * 1024 ** ("KMG".index(size[2]) + 1)), float(rate)


def _power_of_two(nbytes: float) -> int:
    """The next below, unless it is just above `nbytes`."""
    return 1 << (int(nbytes * 1.02).bit_length() - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class NcclTable:
    """The parquet tables of aiconfigurator; sizes are numbers of elements of two bytes, times are in milliseconds."""

    def read(self, content: bytes, curve: Curve) -> Points:
        import pyarrow.parquet as parquet

        rows: list[dict[str, Any]] = parquet.read_table(BytesIO(content)).to_pylist()
        return nccl_table_points(rows, curve)


def nccl_table_points(rows: Sequence[Mapping[str, Any]], curve: Curve) -> Points:
    """The rows of half precision of one operation among so many devices."""
    return {
        2 * row["message_size"]: round(row["latency"] * 1e3, 2)
        for row in rows
        if (row["nccl_dtype"], row["op_name"], row["num_gpus"]) == ("half", curve["op"], curve["ranks"])
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where the rows of curves are: `curves` has what sets them apart from others of the source."""

    source: str
    repository: str
    commit: str
    path: str
    form: Form
    curves: Mapping[str, Any]

    def has(self, curve: Curve) -> bool:
        return curve["source"] == self.source and all(curve.get(key) == value for key, value in self.curves.items())


def _aiconfigurator(card: str, system: str, version: str) -> Origin:
    return Origin(
        source="aiconfigurator",
        repository="ai-dynamo/aiconfigurator",
        commit="095f58a51",
        path=f"aic-core/src/aiconfigurator_core/systems/data/{system}/comm/nccl/{version}/nccl_perf.parquet",
        form=NcclTable(),
        curves={"card": card},
    )


_AWSOME = {"repository": "awslabs/awsome-distributed-training", "commit": "7217859f"}
_COREWEAVE: dict[str, str] = {"source": "coreweave-gb200", "repository": "coreweave/nccl-tests", "commit": "cb865533", "path": "README.md"}
_AZURE = {"source": "azure-ai-benchmarking", "repository": "Azure/AI-benchmarking-guide", "commit": "8fd0c6e1"}
_ML_ENGINEERING = {"repository": "stas00/ml-engineering", "commit": "744d01e1"}

SOURCES = (
    _aiconfigurator("a100-80gb", "a100_sxm", "2.27.3"),
    *(_aiconfigurator(card, system, "2.29.2") for card, system in (("h100-80gb", "h100_sxm"), ("h200", "h200_sxm"))),
    *(_aiconfigurator(card, system, "2.29.2") for card, system in (("b200", "b200_sxm"), ("gb200", "gb200"))),
    Origin(source="aws-p5", **_AWSOME, path="micro-benchmarks/nccl-tests/aws-batch/README.md", form=Printed(), curves={}),
    Origin(source="awsome-p4de", **_AWSOME, path="micro-benchmarks/nccl-tests/README.md", form=Printed(), curves={}),
    Origin(source="awsome-p5", **_AWSOME, path="micro-benchmarks/nccl-tests/README.md", form=Printed(number=1), curves={}),
    Origin(source="aws-efa-eks", repository="aws-samples/aws-efa-eks", commit="9d6557e", path="README.md", form=Printed(), curves={}),
    Origin(
        source="eks-blueprints-p5",
        repository="aws-ia/terraform-aws-eks-blueprints",
        commit="98d0eb40",
        path="patterns/nvidia-gpu-efa/README.md",
        form=Printed(),
        curves={},
    ),
    Origin(
        source="a3-mega-all-reduce",
        repository="lessizzmore/create-a3mega-ztan-fork",
        commit="346b825a",
        path="ztan-NCCL-test-result.markdown",
        form=Printed(),
        curves={},
    ),
    *(Origin(**_COREWEAVE, form=Printed(number=number), curves={"ranks": ranks}) for number, ranks in ((1, 72), (2, 144), (3, 1440))),
    Origin(**_AZURE, path="Azure_Results/ND_A100_v4_results.md", form=BusRates(after="## NCCL Bandwidth"), curves={"card": "a100-80gb"}),
    Origin(**_AZURE, path="Azure_Results/ND_H100_v5_results.md", form=BusRates(after="## NCCL Bandwidth"), curves={"card": "h100-80gb"}),
    Origin(
        source="ml-engineering-a100",
        **_ML_ENGINEERING,
        path="network/benchmarks/README.md",
        form=BusRates(after="busbw"),
        curves={},
    ),
    *(
        Origin(
            source="ml-engineering",
            **_ML_ENGINEERING,
            path="network/README.md",
            form=BusRates(after=after, column=column),
            curves={"card": card, "op": "all_reduce", "ranks": ranks},
        )
        for card, ranks, after, column in (
            ("h200", 8, "reports the same two columns", 1),
            ("b200", 8, "on 1x and 4x P6-B200 nodes", 1),
            ("b200", 32, "on 1x and 4x P6-B200 nodes", 2),
        )
    ),
)


def converted(document: Mapping[str, Any], clones: Clones) -> tuple[dict[str, Any], list[str]]:
    """The document with the times that its sources have, and the sources of curves that were left as they are.

    Raises:
        KeyError: a table of rates lacks a size that the curve has.
    """
    curves, left = [], Counter[str]()
    for curve in document["curves"]:
        origin = next((each for each in SOURCES if each.has(curve)), None)
        if origin is None or not clones.has(origin.repository):
            left[curve["source"]] += 1
            curves.append(curve)
            continue
        points = origin.form.read(clones.content(origin.repository, origin.commit, origin.path), curve)
        curves.append({**curve, "bytes_us": [list(each) for each in sorted(points.items())]})
    return {**document, "curves": curves}, [f"{source}: {count}" for source, count in left.items()]


def text_of(document: Mapping[str, Any]) -> str:
    """The file: a line for each source and each curve."""
    sources = ",\n".join(f"  {json.dumps(name)}: {_line(each)}" for name, each in document["sources"].items())
    curves = ",\n".join(f"  {_curve_text(each)}" for each in document["curves"])
    return f'{{\n"sources": {{\n{sources}\n}},\n"curves": [\n{curves}\n]\n}}\n'


def _curve_text(curve: Curve) -> str:
    about = {key: value for key, value in curve.items() if key != "bytes_us"}
    points = ",".join(f"[{nbytes}, {_number(us)}]" for nbytes, us in curve["bytes_us"])
    return f'{_line(about)[:-1]}, "bytes_us": [{points}]}}'


def _number(us: float) -> str:
    """Without the digits after the point of a whole number."""
    return str(int(us)) if us == int(us) else str(us)


def _line(values: Mapping[str, Any]) -> str:
    return json.dumps(values, ensure_ascii=False)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clones", type=Path, required=True, help="directory of clones by OWNER+NAME")
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 if the file would change")
    args = parser.parse_args(argv)
    before = DATA_FILE.read_text(encoding="utf-8")
    document, left = converted(json.loads(before), Clones(args.clones))
    print("left as they are, curves by source:", *(left or ["none"]), sep="\n  ")
    text = text_of(document)
    if args.check:
        print("the file is what its sources say" if text == before else "the file would change")
        return int(text != before)
    DATA_FILE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
