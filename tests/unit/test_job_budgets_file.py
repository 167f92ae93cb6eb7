"""The mapping `budgets` of job files: what it asks for, and the errors of broken ones."""

from pathlib import Path

import pytest

from fakerun.cli.app import main
from fakerun.errors import ExitCode
from fakerun.job.budgets import (
    Budgets,
    CodeBudget,
    CommunicationBudget,
    MemoryBudget,
    MemoryKey,
    MemoryLimit,
    NoCollectives,
    Required,
    Selection,
    StepTimeBudget,
    VolumeKey,
    default_budgets,
)
from fakerun.job.budgets_file import BudgetsFile, budgets_of
from fakerun.job.codec import decode_job, encode_job
from fakerun.job.document import dotted
from fakerun.job.yaml_job import load_job
from fakerun.records.collective import CollectiveOp, Phase
from fakerun.records.finding_code import FindingCode
from tests.unit.records_by_hand import job

GIB = 1024**3


def read(**mapping: object) -> Budgets:
    """The budgets, with the key as the source of each."""
    return budgets_of(BudgetsFile.model_validate(mapping), lambda path: dotted(path) or "budgets")


def test_every_key() -> None:
    budgets = read(
        peak_allocated="60GiB",
        peak_reserved={"all": "90%", "0,4-7": "72GiB", "pp=0,tp=1": "70GiB", "cuda:1 of node 2": "1GiB"},
        headroom="5%",
        communication={"calls": 0, "inter_node": {"bytes": "2GiB"}, "tp": {"bytes": "4GiB"}, "all_reduce": {"bus_bytes": "1GiB"}},
        step_time="900 ms",
        no_collectives_in=["backward", "layers.*.attention"],
        no_unawaited_async=True,
        ranks_agree=False,
        findings={"forbid": ["tight-fit"], "allow": ["call-site-mismatch"]},
    )
    reserved = MemoryKey.PEAK_RESERVED
    assert budgets == Budgets(
        memory=(
            MemoryBudget(key=MemoryKey.PEAK_ALLOCATED, limit=MemoryLimit(text="60GiB", nbytes=60 * GIB), source="peak_allocated"),
            MemoryBudget(key=reserved, limit=MemoryLimit(text="90%", share=0.9), source="peak_reserved.all"),
            MemoryBudget(
                key=reserved,
                of=Selection(text="0,4-7", ranks=((0, 0), (4, 7))),
                limit=MemoryLimit(text="72GiB", nbytes=72 * GIB),
                source="peak_reserved.0,4-7",
            ),
            MemoryBudget(
                key=reserved,
                of=Selection(text="pp=0,tp=1", coordinate={"pp": 0, "tp": 1}),
                limit=MemoryLimit(text="70GiB", nbytes=70 * GIB),
                source="peak_reserved.pp=0,tp=1",
            ),
            MemoryBudget(
                key=reserved,
                of=Selection(text="cuda:1 of node 2", cuda_index=1, node=2),
                limit=MemoryLimit(text="1GiB", nbytes=GIB),
                source="peak_reserved.cuda:1 of node 2",
            ),
            MemoryBudget(key=MemoryKey.HEADROOM, limit=MemoryLimit(text="5%", share=0.05), source="headroom"),
        ),
        communication=(
            CommunicationBudget(key=VolumeKey.CALLS, most=0, text="0", source="communication.calls"),
            CommunicationBudget(
                key=VolumeKey.BYTES, most=2 * GIB, text="2GiB", is_inter_node=True, source="communication.inter_node.bytes"
            ),
            CommunicationBudget(key=VolumeKey.BYTES, most=4 * GIB, text="4GiB", group="tp", source="communication.tp.bytes"),
            CommunicationBudget(
                key=VolumeKey.BUS_BYTES,
                most=GIB,
                text="1GiB",
                op=CollectiveOp.ALL_REDUCE,
                source="communication.all_reduce.bus_bytes",
            ),
        ),
        no_collectives=(
            NoCollectives(name="no_collectives_in.backward", phase=Phase.BACKWARD, source="no_collectives_in[0]"),
            NoCollectives(name="no_collectives_in.layers.*.attention", module="layers.*.attention", source="no_collectives_in[1]"),
        ),
        step_time=StepTimeBudget(most_s=0.9, text="900 ms", source="step_time"),
        ranks_agree=Required(on=False, source="ranks_agree"),
        fits=Required(source="fits"),
        no_unawaited_async=Required(source="no_unawaited_async"),
        allowed=(CodeBudget(code=FindingCode.CALL_SITE_MISMATCH, source="findings.allow[0]"),),
        forbidden=(CodeBudget(code=FindingCode.TIGHT_FIT, source="findings.forbid[0]"),),
    )


def test_each_limit_is_named_as_in_the_file() -> None:
    budgets = read(peak_reserved={"0": "1GiB"}, communication={"bytes": "1GiB", "inter_node": {"calls": 3}, "tp": {"calls": 1}})
    assert [budget.name for budget in budgets.memory] == ["peak_reserved.0"]
    assert [budget.name for budget in budgets.communication] == [
        "communication.bytes",
        "communication.inter_node.calls",
        "communication.tp.calls",
    ]


def test_an_empty_mapping_has_what_holds_by_default() -> None:
    assert budgets_of(BudgetsFile(), lambda _: "job.yaml:7") == default_budgets("job.yaml:7")


KEYS = ", ".join(BudgetsFile.model_fields)
OPERATIONS = ", ".join(CollectiveOp)
AMOUNT = "must be an amount of memory (72GiB) or a share of the accelerator's (90%), not"
UNITS = "give a number and a unit (KiB, MiB, GiB, TiB, MB, GB, TB), as in 94GiB"
SELECTIONS = "write all, ranks (0,4-7), a place in the mesh (pp=0,tp=1) or a device (cuda:0, cuda:0 of node 1)"
PLACE = "must be a phase (forward, backward, optimizer, other) or a module (layers.*.attention), not"

BROKEN = {
    "not a mapping": ("72GiB", ["3: budgets: must be a mapping, not the string '72GiB'; allowed keys: " + KEYS]),
    "a list": ("[peak_reserved]", ["3: budgets: must be a mapping, not a list; allowed keys: " + KEYS]),
    "unknown key": ("{peak_reservd: 1GiB}", [f"3: budgets.peak_reservd: unknown key (did you mean 'peak_reserved'?); allowed: {KEYS}"]),
    "a step without a unit": ("{step_time: 2}", ["3: budgets.step_time: must be a time with a unit (2.9s, 900ms), not the number 2"]),
    "a step of memory": (
        "{step_time: 2GiB}",
        ["3: budgets.step_time: '2GiB' is not a time: give a number and a unit (ns, us, ms, s), as in 5us"],
    ),
    "number without a unit": ("{peak_reserved: 72}", [f"3: budgets.peak_reserved: {AMOUNT} the number 72"]),
    "text without a unit": (
        "{peak_reserved: '72'}",
        [f"3: budgets.peak_reserved: '72' is not an amount of memory: {UNITS}, or a share of the accelerator's memory, as in 90%"],
    ),
    "unknown unit": (
        "{device_total: 72Gb}",
        [f"3: budgets.device_total: '72Gb' is not an amount of memory: {UNITS}, or a share of the accelerator's memory, as in 90%"],
    ),
    "nothing": (
        "{peak_allocated: 0GiB}",
        [
            "3: budgets.peak_allocated: '0GiB' is not possible: it must be above 0, or a share of the accelerator's memory, as in 90%",
        ],
    ),
    "more than all": ("{headroom: 101%}", ["3: budgets.headroom: '101%' is not possible: a share must be above 0 % and at most 100 %"]),
    "a list of limits": ("{peak_reserved: [1GiB]}", [f"3: budgets.peak_reserved: {AMOUNT} a list"]),
    "true": ("{headroom: true}", [f"3: budgets.headroom: {AMOUNT} true"]),
    "limit of a rank without a unit": ("{peak_reserved: {0: 72}}", [f"3: budgets.peak_reserved.0: {AMOUNT} the number 72"]),
    "unknown selection": ("{peak_reserved: {first: 1GiB}}", [f"3: budgets.peak_reserved.first: 'first' selects nothing; {SELECTIONS}"]),
    "selected by auto": ("{peak_reserved: {auto: 1GiB}}", [f"3: budgets.peak_reserved.auto: 'auto' selects nothing; {SELECTIONS}"]),
    "empty range": ("{peak_reserved: {4-2: 1GiB}}", [f"3: budgets.peak_reserved.4-2: '4-2' selects nothing; {SELECTIONS}"]),
    "place without an index": (
        "{headroom: {'pp=': 1GiB}}",
        ["3: budgets.headroom.pp=: 'pp=' is not a place in the mesh: give each axis once, with an index, as in pp=0,tp=1"],
    ),
    "place with an axis twice": (
        "{headroom: {'pp=0,pp=1': 1GiB}}",
        ["3: budgets.headroom.pp=0,pp=1: 'pp=0,pp=1' is not a place in the mesh: give each axis once, with an index, as in pp=0,tp=1"],
    ),
    "device without an index": ("{headroom: {'cuda:x': 1GiB}}", [f"3: budgets.headroom.cuda:x: 'cuda:x' selects nothing; {SELECTIONS}"]),
    "communication as an amount": (
        "{communication: 4GiB}",
        ["3: budgets.communication: must be a mapping, not the string '4GiB'; allowed keys: bytes, bus_bytes, calls, inter_node"],
    ),
    "bytes without a unit": (
        "{communication: {bytes: 4}}",
        ["3: budgets.communication.bytes: must be an amount with a unit (40GiB), not the number 4"],
    ),
    "a share of bytes": (
        "{communication: {bytes: 4%}}",
        [f"3: budgets.communication.bytes: '4%' is not an amount of memory: {UNITS}"],
    ),
    "negative calls": ("{communication: {calls: -1}}", ["3: budgets.communication.calls: must be at least 0, not -1"]),
    "calls as text": (
        "{communication: {calls: many}}",
        ["3: budgets.communication.calls: must be a whole number, not the string 'many'"],
    ),
    "mistyped operation": (
        "{communication: {all_redcue: {calls: 3}}}",
        [
            "3: budgets.communication.all_redcue: unknown key (did you mean 'all_reduce'?); allowed: bytes, bus_bytes, calls, inter_node, "
            f"{OPERATIONS}, or an axis of the mesh"
        ],
    ),
    "operation as a number": (
        "{communication: {all_reduce: 3}}",
        ["3: budgets.communication.all_reduce: must be a mapping, not the number 3; allowed keys: bytes, bus_bytes, calls"],
    ),
    "unknown key of an axis": (
        "{communication: {tp: {byte: 1GiB}}}",
        ["3: budgets.communication.tp.byte: unknown key (did you mean 'bytes' or 'bus_bytes'?); allowed: bytes, bus_bytes, calls"],
    ),
    "bus bytes between nodes": (
        "{communication: {inter_node: {bus_bytes: 1GiB}}}",
        ["3: budgets.communication.inter_node.bus_bytes: unknown key (did you mean 'bytes'?); allowed: bytes, calls"],
    ),
    "place that is no list": ("{no_collectives_in: backward}", ["3: budgets.no_collectives_in: must be a list, not the string 'backward'"]),
    "place that is a number": ("{no_collectives_in: [3]}", [f"3: budgets.no_collectives_in[0]: {PLACE} the number 3"]),
    "mistyped phase": (
        "{no_collectives_in: [backwards]}",
        [
            "3: budgets.no_collectives_in[0]: 'backwards' is neither a phase nor a module (did you mean 'backward'?); phases: forward, "
            "backward, optimizer, other"
        ],
    ),
    "module with nothing between dots": (
        "{no_collectives_in: [layers..attention]}",
        [
            "3: budgets.no_collectives_in[0]: 'layers..attention' is not a module: write names and patterns with dots between them, as in "
            "layers.*.attention"
        ],
    ),
    "agreement in words": ("{ranks_agree: always}", ["3: budgets.ranks_agree: must be true or false, not the string 'always'"]),
    "fit as an amount": ("{fits: 5GiB}", ["3: budgets.fits: must be true or false, not the string '5GiB'"]),
    "unknown code": (
        "{findings: {allow: [tight-fits]}}",
        ["3: budgets.findings.allow[0]: no finding has the code 'tight-fits' (did you mean 'tight-fit'?); docs/findings.md lists all"],
    ),
    "code as a number": (
        "{findings: {forbid: [3]}}",
        ["3: budgets.findings.forbid[0]: must be the code of a finding (tight-fit), not the number 3"],
    ),
    "codes as text": ("{findings: {forbid: tight-fit}}", ["3: budgets.findings.forbid: must be a list, not the string 'tight-fit'"]),
    "several": (
        "\n  fits: 3\n  headroom: 5\n",
        ["4: budgets.fits: must be true or false, not the number 3", f"5: budgets.headroom: {AMOUNT} the number 5"],
    ),
}
"""What follows `budgets:` on line 3, and the errors."""


@pytest.mark.parametrize("name", BROKEN)
def test_broken_budgets(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    text, errors = BROKEN[name]
    Path("train.py").touch()
    Path("job.yaml").write_text(f"script: train.py\nworld_size: 2\nbudgets: {text}\n")
    assert main(["job.yaml"]) == ExitCode.USAGE
    assert capsys.readouterr().err.splitlines() == [f"fakerun: error: job.yaml:{error}" for error in errors]


def test_a_limit_is_found_in_the_file(tmp_path: Path) -> None:
    (tmp_path / "train.py").touch()
    file = tmp_path / "job.yaml"
    file.write_text(
        "script: train.py\nworld_size: 2\nstrict: true\nbudgets:\n  peak_reserved:\n    all: 90%\n    0: 1GiB\n  ranks_agree: false\n"
    )
    budgets = load_job(file).budgets
    assert budgets is not None
    assert [each.source for each in budgets.memory] == [f"{file}:6", f"{file}:7"]
    assert (budgets.fits, budgets.ranks_agree) == (Required(source=f"{file}:4"), Required(on=False, source=f"{file}:8"))
    assert budgets.strict == Required(source=f"{file}:3")


def test_a_budget_goes_over_one_of_the_same_name() -> None:
    file = read(peak_reserved={"all": "90%", "0": "1GiB"}, communication={"calls": 3}, findings={"allow": ["tight-fit"]})
    option = read(peak_reserved="80GiB", findings={"allow": ["tight-fit", "deadlock"]})
    both = option.over(file)
    assert [(each.name, each.limit.text) for each in both.memory] == [("peak_reserved", "80GiB"), ("peak_reserved.0", "1GiB")]
    assert len(both.communication) == 1
    assert [each.code for each in both.allowed] == [FindingCode.TIGHT_FIT, FindingCode.DEADLOCK]
    assert Budgets().over(file) == file


def test_budgets_are_kept_with_the_job() -> None:
    budgets = read(
        peak_reserved={"all": "90%", "pp=0": "1GiB", "cuda:0 of node 1": "1GiB"},
        communication={"tp": {"calls": 3}, "send": {"bytes": "1GiB"}},
        no_collectives_in=["forward", "layers.*"],
        findings={"allow": ["tight-fit"], "forbid": ["deadlock"]},
    )
    spec = job(budgets=budgets)
    assert decode_job(encode_job(spec)) == spec
