"""`docs/interconnects.md`, written from `interconnects.yaml` and from the published runs that calls are held against.

`python -m tests.docs.interconnects_page` writes it; test_interconnects_page.py compares.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from fakerun.hardware.collective_times import collective_times
from fakerun.hardware.interconnects import NamedInterconnect, known_interconnects

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
from dev.compare_collective_times import ACROSS, IN_NODE, LARGE, MEDIUM, SMALL, WITHOUT_CURVES, JudgedRow, agreement, judged_rows

PAGE = Path(__file__).parents[2] / "docs" / "interconnects.md"

_INTRODUCTION = """\
# Interconnects and what calls cost

The time of a step depends on what joins the ranks: NVLink inside a node, NICs between nodes. An accelerator comes with its usual node
([Hardware](hardware.md)); a fabric of this page replaces the NICs of that node. Its figures are those of `interconnects.yaml`, each with
its source beside it; this page is written from that file and tested against it.

## Fabrics by name

The NICs are those that carry collectives, the rate is that of one NIC in one direction. The latency is what a collective of a few bytes
takes beyond one node when it spans two; no vendor publishes it, so it is fitted to published runs of nccl-tests, or taken from a like
fabric.
"""

_RULES = """\
## How a call is priced

- **Where the ranks are** follows from their global numbers, as torchrun gives them: a strided group is not inside a node. A rack of GB200
  or GB300 is one NVLink domain of 18 nodes.
- **Inside a node** the time comes from published curves of time over size for the operation, the link and the number of ranks, interpolated
  between sizes (and numbers of ranks) on logarithmic scales. Above the largest measured size the rest moves at the best rate that the
  link showed. Where several people measured the same, their geometric mean counts. An all-reduce is reduced by the switch (NVLS) from
  5 ranks on (NVLink 4) or 6 (NVLink 5), and only for what it can reduce: sums of float32, float16 and bfloat16, not averages. Operations
  that were not measured (broadcast, reduce, gather, scatter) take as long as one that passes the same bytes; links that were not
  measured are priced by their rate.
- **Between nodes** it is a ring, or for an all-reduce a tree if that is faster, of which the slower part counts: links inside the node or
  NICs. NICs are shared by the groups that use them at the same time, so that a group with one rank on each node has its part of them.
  An all-to-all takes as long as if all its messages were as large as the largest.
- **Sends and receives** of one batch overlap in the two directions. A group of one rank copies, or does nothing. Calls on the host (gloo),
  and between nodes whose NICs are not known, have an unknown cost, and the report says so.

Each cost says what it is taken from: `calibrated`, `measured`, `interpolated`, `roofline` (rates), `extrapolated`, or `unknown`.

## How far off it is

Every published time below is compared with what fakerun says of it **without the source that it is from**. Rows "without curves" are of
operations among so many ranks that nobody else measured on that link; they are judged by other numbers of ranks, or by rates of which a
share is reached that is a median of these measurements.
"""

_AFTER = """\
The constants of the rule between nodes are fitted to these runs. Fitted again without each source in turn, from round figures, the rows
above 64 MiB between nodes have a median error of about 7 %, and three of four are within 15 % (`scripts/dev/fit_collectives.py`). Three
runs are of older or unfinished installations and are much slower than others on the same fabric (`awsome-eks-p5`, `aws-efa-eks`,
`dranet-a4`); they were not fitted to, and are in the table.

Groups with one rank on each node are checked apart, by runs that no constant is fitted to: all-reduces between two H100 by one NDR NIC
([nccl-tests#232](https://github.com/NVIDIA/nccl-tests/issues/232)) are 1 % shorter to 17 % longer than published, tiny ones between two
A100 by HDR ([nccl-tests#150](https://github.com/NVIDIA/nccl-tests/issues/150)) 6 to 11 % longer. No measurement was found of eight such
groups at the same time. Of all-to-alls between nodes one rate was found, 85 GB/s at 1 GiB on two p5en: 2 % lower than is said here.

Below 1 MiB the measurements themselves differ by a factor of two and more, between a thread and a process for each GPU, between captured
and launched calls, and between installations: 10 to 50 us inside a node. Take such a time for its order of magnitude only.

`python scripts/dev/compare_collective_times.py --sources` prints the agreement by source and operation.

## Measurements of your own

What nccl-tests prints on your cluster, given with `--calibrate FILE`, comes before what others published. A run is taken as it is for
calls of the same operation among ranks that are placed alike, between the sizes that it has; elsewhere the factor by which it differs from
what is published corrects the published time. Runs of the same are averaged. Keep the whole output, with the command (`all_gather_perf` and
`alltoall_perf` print the same table) and the lines of the devices: a run on another accelerator than the job's is refused.

## Sources of the measurements

"""


def page() -> str:
    """The whole page."""
    rows = tuple(judged_rows(collective_times()))
    return "\n".join((_INTRODUCTION, *_fabrics(), "", _RULES, *_agreement(rows), "", _AFTER.rstrip("\n"), "", *_sources(), ""))


def _fabrics() -> Iterator[str]:
    yield "| Name | Fabric | NICs | Rate | Together | Latency |"
    yield "|---|---|---|---|---|---|"
    for each in known_interconnects().values():
        rate = each.figures["nics_per_node"].value * each.figures["nic_bandwidth"].value / 1e9
        nics, one, latency = (_cell(each, key) for key in ("nics_per_node", "nic_bandwidth", "nic_latency"))
        yield f"| `{each.name}` | {each.fabric} | {nics} | {one} | {rate:.0f} GB/s | {latency} |"
    yield ""
    yield "Rates marked * are not the published ones, or are derived; `interconnects.yaml` says from what."


def _cell(each: NamedInterconnect, key: str) -> str:
    return each.texts[key] + ("*" if each.figures[key].estimate and key != "nic_latency" else "")


def _agreement(rows: Sequence[JudgedRow]) -> Iterator[str]:
    yield "| Ranks | Size | Rows | Median error | Within 15 % | Worst |"
    yield "|---|---|---|---|---|---|"
    for where, what in ((IN_NODE, "inside a node"), (WITHOUT_CURVES, "inside a node, without curves"), (ACROSS, "between nodes")):
        for size in (LARGE, MEDIUM, SMALL):
            said = agreement(row for row in rows if row.where == where and row.size == size)
            yield f"| {what} | {size} | {said.rows} | {said.median:.1%} | {said.within_15:.0%} | {said.worst:+.0%} |"


def _sources() -> Iterator[str]:
    times = collective_times()
    for name, source in times.sources.items():
        count = sum(len(curve.points) for curve in times.curves if curve.source == name)
        yield f"- `{name}` ({count} rows): {source.address}. {source.measured}. Licence: {source.licence}."


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
