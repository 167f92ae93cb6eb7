"""The mapping `budgets` of job files: what it asks for."""

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
    VolumeKey,
    default_budgets,
)
from fakerun.job.budgets_file import BudgetsFile, budgets_of
from fakerun.job.document import dotted
from fakerun.records.collective import CollectiveOp, Phase
from fakerun.records.finding_code import FindingCode

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
        no_collectives_in=["backward", "layers.*.attention"],
        no_unawaited_async=True,
        ranks_agree=False,
        findings={"forbid": ["tight-fit"], "allow": ["call-site-mismatch"], "strict": True},
    )
    reserved = MemoryKey.PEAK_RESERVED
    assert budgets == Budgets(
        memory=(
            MemoryBudget(key=MemoryKey.PEAK_ALLOCATED, limit=MemoryLimit(text="60GiB", nbytes=60 * GIB), source="peak_allocated"),
            MemoryBudget(key=reserved, of=Selection(text="all"), limit=MemoryLimit(text="90%", share=0.9), source="peak_reserved.all"),
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
        ranks_agree=Required(on=False, source="ranks_agree"),
        fits=Required(source="fits"),
        no_unawaited_async=Required(source="no_unawaited_async"),
        strict=Required(source="findings.strict"),
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
