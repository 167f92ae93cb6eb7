"""The picture of a step: well-formed, small, compared with one in `golden/`; what is in it."""

import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

from fakerun.analysis.time.step_time import TimeKind
from fakerun.analysis.time.timeline import Timeline
from fakerun.analysis.time.timeline.occupancy import Layer
from fakerun.records.collective import Phase
from fakerun.report import build_report
from fakerun.report.formats.svg.step import render
from fakerun.report.model import NoEstimate
from tests.unit.records_by_hand import job, run
from tests.unit.timelines_by_hand import ADD, MATMUL, MESH, Ran, detailed, rank_timeline, two_stages

GOLDEN = Path(__file__).parent / "golden"
MOST_BYTES = 200_000
SVG = "{http://www.w3.org/2000/svg}"


def picture(timeline: Timeline | NoEstimate) -> str:
    if isinstance(timeline, NoEstimate):
        return render(replace(build_report(job(), run()), timeline=timeline))
    report = build_report(job(nproc_per_node=8), run(*(rank.record for rank in timeline.ranks)))
    return render(replace(report, timeline=detailed(timeline), mesh=MESH))


def texts(drawn: str) -> list[str]:
    return [each.text or "" for each in ElementTree.fromstring(drawn).iter(f"{SVG}text")]


def test_picture() -> None:
    assert picture(two_stages()) == (GOLDEN / "step.svg").read_text(encoding="utf-8")


def test_it_names_the_rows_and_says_what_the_step_is_spent_on() -> None:
    words = texts(picture(two_stages()))
    assert words[1] == "rank 0 (pp=0,dp=0), as ranks 0-3, step 1, 8 x h100-80gb, torch 2.13.0"
    assert [word for word in words if word in ("host", "default stream", "stream 1", "NCCL pp", "NCCL dp")][:5] == [
        *("host", "default stream", "stream 1", "NCCL pp", "NCCL dp")
    ]
    spent = words[words.index("the step") :]
    assert spent[:8] == ["the step", "1.00 ms", "compute", "465 us", "46 %", "optimizer", "140 us", "14 %"]
    assert spent[spent.index("exposed communication") + 1] == "220 us"
    assert spent[-4:] == ["dp", "150 us of 240 us", "pp", "70.0 us of 70.0 us"]


def test_the_other_classes_have_groups_of_their_own_on_the_same_axis() -> None:
    found = detailed(two_stages())
    first, second = found.shown
    assert (first.occupancy.begin_s, first.occupancy.end_s) == (second.occupancy.begin_s, second.occupancy.end_s)
    words = texts(picture(two_stages()))
    group = words[words.index("rank 4 (pp=1,dp=0), as ranks 4-7: 960 us") + 1 :]
    assert group[:4] == ["host", "default stream", "NCCL dp", "NCCL pp"]
    assert group[4] == "1.00 ms, estimated; a row is filled as far as its time is, and what is empty is idle"


def test_it_says_how_many_classes_are_shown() -> None:
    ran = [Ran(MATMUL, 0, 0, 80, Phase.FORWARD)]
    ranks = tuple(rank_timeline(number, (number,), ran, [], end=80 + number, host=(0, 10)) for number in range(20))
    drawn = picture(Timeline(step=1, is_first_step=False, ranks=ranks))
    assert any(each.endswith("; 16 of 20 classes of ranks") for each in texts(drawn))
    assert len(drawn.encode()) < MOST_BYTES


def test_the_same_seconds_have_the_colours_and_the_step() -> None:
    """Where calls do not overlap each other, rows and step agree."""
    found = detailed(two_stages())
    layers, kinds = found.shown[0].occupancy.layer_s, found.step.slowest.kinds
    assert round(layers[Layer.EXPOSED] * 1e9) == round(kinds[TimeKind.EXPOSED_COMMUNICATION] * 1e9)
    assert round(layers[Layer.WAITING_FOR_RANKS] * 1e9) == round((kinds[TimeKind.BUBBLE] + kinds[TimeKind.WAITING]) * 1e9)


def test_a_step_of_many_kernels_is_small_and_inside_of_the_page() -> None:
    ran = [
        Ran(operation, 3.1 * number, 7.3 * number, 7.3 * number + 5, phase, stream=number % 2)
        for number in range(30_000)
        for operation, phase in [(MATMUL if number % 3 else ADD, Phase.FORWARD if number % 900 < 450 else Phase.BACKWARD)]
    ]
    timeline = Timeline(step=1, is_first_step=False, ranks=(rank_timeline(0, (0,), ran, [], end=219_000, host=(-50, 93_000)),))
    drawn = picture(timeline)
    assert len(drawn.encode()) < MOST_BYTES
    root = ElementTree.fromstring(drawn)
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    for path in root.iter(f"{SVG}path"):
        for x, y in re.findall(r"[ML](-?[0-9.]+) (-?[0-9.]+)", path.attrib["d"]):
            assert 0 <= float(x) <= width
            assert 0 <= float(y) <= height
    for each in root.iter(f"{SVG}text"):
        assert 0 <= float(each.attrib["y"]) <= height


def test_without_a_step_time_it_says_why() -> None:
    assert "no step time: rank 0 failed" in texts(picture(NoEstimate("rank 0 failed")))
