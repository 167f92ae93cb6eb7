"""The picture of memory: well-formed, small, compared with one in `golden/`; what is in it."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from fakerun.records.collective import Phase
from fakerun.records.device_program import DeviceProgram, DeviceStream, Instruction, Opcode, program_of
from fakerun.records.memory import Category
from fakerun.records.run import FailureKind, ProcessFailure, RankRecord
from fakerun.report import build_report
from fakerun.report.formats.svg import render
from tests.unit.records_by_hand import GIB, MIB, block, job, llama_8b_job, llama_8b_rank, program, run

GOLDEN = Path(__file__).parent / "golden"
MOST_BYTES = 200_000


def begin(phase: Phase) -> Instruction:
    return Instruction(Opcode.BEGIN_PHASE, list(Phase).index(phase))


def small_program() -> DeviceProgram:
    """Two steps of a layer: weights, an activation, a gradient, an optimizer's state; the gradient is allocated on another stream."""
    blocks = [
        block(8 * GIB, Category.PARAMETER, module="layer"),
        block(24 * GIB, Category.ACTIVATION, module="layer", call_site="model.py:12"),
        block(8 * GIB, Category.GRADIENT, module="layer", stream=1),
        block(16 * GIB, Category.OPTIMIZER_STATE),
        block(24 * GIB, Category.ACTIVATION, module="layer", call_site="model.py:12"),
        block(8 * GIB, Category.GRADIENT, module="layer", stream=1),
    ]
    first: list[int | Instruction] = [0, begin(Phase.FORWARD), 1, begin(Phase.BACKWARD), 2, ~1, begin(Phase.OPTIMIZER), 3, ~2]
    second: list[int | Instruction] = [begin(Phase.FORWARD), 4, begin(Phase.BACKWARD), 5, ~4, begin(Phase.OPTIMIZER), ~5]
    streams = (DeviceStream(device=0), DeviceStream(device=0, index=0))
    return program_of(blocks, [*first, *second], streams=streams, step_ends=(len(first), len(first) + len(second)))


def picture(program: DeviceProgram, **fields: object) -> str:
    record = RankRecord(rank=0, devices=(0,), program=program, **fields)  # type: ignore[arg-type]
    return render(build_report(job(), run(record), with_history=True))


def texts(drawn: str) -> list[str]:
    return [each.text or "" for each in ElementTree.fromstring(drawn).iter("{http://www.w3.org/2000/svg}text")]


def test_picture() -> None:
    assert picture(small_program()) == (GOLDEN / "memory.svg").read_text(encoding="utf-8")


def test_it_names_the_peaks_the_limit_and_what_there_is() -> None:
    words = texts(picture(small_program()))
    assert "reserved peak 64.0 GiB, step 1, forward, model.py:12" in words
    assert "allocated peak 56.0 GiB, step 1, backward, train.py:1" in words
    assert "h100-80gb: 79.1 GiB" in words
    assert {"step 0", "step 1", "forward", "backward", "optimizer", "parameter", "activation", "optimizer state"} <= {*words}
    assert not {"buffer", "input"} & {*words}


def test_a_limit_far_above_the_peak_is_told_above_the_plot() -> None:
    drawn = picture(program([block(GIB)], [0]))
    assert "h100-80gb: 79.1 GiB \u2191" in texts(drawn)
    assert "limit-line" not in drawn.partition("</style>")[2]


def test_a_long_program_is_small() -> None:
    drawn = render(build_report(llama_8b_job(), run(llama_8b_rank()), with_history=True))
    assert "rank 0 (dp=0,tp=0), cuda:0, 8 x h100-80gb, torch 2.13.0" in texts(drawn)
    sawtooth = [number for step in range(20_000) for number in (3 * step, 3 * step + 1, 3 * step + 2, ~(3 * step), ~(3 * step + 1))]
    blocks = [
        block(size, category)
        for _ in range(20_000)
        for size, category in ((512 << 20, Category.INPUT), (1 << 30, Category.ACTIVATION), (512, Category.BUFFER))
    ]
    for each in (drawn, picture(program(blocks, sawtooth))):
        assert len(each.encode()) < MOST_BYTES


def test_nothing_of_it_lies_outside() -> None:
    for drawn in (picture(small_program()), render(build_report(llama_8b_job(), run(llama_8b_rank()), with_history=True))):
        root = ElementTree.fromstring(drawn)
        _, _, width, height = map(float, root.attrib["viewBox"].split())
        for path in root.iter("{http://www.w3.org/2000/svg}path"):
            for x, y in re.findall(r"[ML](-?[0-9.]+) (-?[0-9.]+)", path.attrib["d"]):
                assert 0 <= float(x) <= width
                assert 0 <= float(y) <= height


def test_text_from_outside_is_text() -> None:
    report = build_report(
        job(args=("--note", "<b>&\"'\x1b[1m", "x" * 200)), run(RankRecord(rank=0, program=small_program(), devices=(0,))), with_history=True
    )
    first = texts(render(report))[0]
    assert first.startswith("train.py --note <b>&\"'\\x1b[1m xxx")
    assert first.endswith("x\u2026")


@pytest.mark.parametrize("records", [(), (RankRecord(rank=0),)])
def test_where_nothing_is_allocated_it_says_so(records: tuple[RankRecord, ...]) -> None:
    assert "no device memory was allocated" in texts(render(build_report(job(), run(*records), with_history=True)))


def test_a_rank_that_failed_says_when() -> None:
    failure = ProcessFailure(kind=FailureKind.EXCEPTION, exception="ValueError", message="no")
    assert any("failed in step 1" in words for words in texts(picture(small_program(), steps=1, failure=failure)))


def test_a_repeated_step_says_so() -> None:
    sizes = 2 * [40 * MIB, 12 * MIB, 20 * MIB]
    words = texts(picture(program(map(block, sizes), [0, 1, 2, 3, 4, ~1, ~0, 5, ~2], [3, 9])))
    assert [word for word in words if word.startswith("step ")] == ["step 0", "step 1", "step 1 again"]


def test_of_many_steps_some_are_numbered() -> None:
    words = texts(picture(program([block(GIB)] * 100, [event for each in range(100) for event in (each, ~each)], range(2, 201, 2))))
    numbers = [word for word in words if word.isdecimal() and word != "0"]
    assert "step 0" in words
    assert numbers == [str(6 * number) for number in range(1, 17)]
