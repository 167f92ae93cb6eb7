"""What is said of two baselines that differ, built by hand."""

from collections.abc import Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest

from fakerun.analysis.baseline.baseline import Baseline, Call, ClassBaseline, DeviceProfile, JobLine, ModuleMemory, Part, Schedule
from fakerun.analysis.baseline.checks import baseline_checks
from fakerun.analysis.baseline.compare import differences
from fakerun.analysis.baseline.difference import DifferenceKind
from fakerun.analysis.baseline.folding import folded
from fakerun.analysis.baseline.places import Places
from fakerun.call_site import CallSite
from fakerun.job.tolerances import DEFAULT_TOLERANCES, Tolerance, Tolerances
from fakerun.records.collective import Phase
from fakerun.records.memory import Category

GIB = 1024**3


def call(op: str = "all_reduce", **fields: Any) -> Call:
    default = Call(
        op=op,
        reduce_op=None,
        dtype="float32",
        nbytes=4096,
        group="tp",
        group_size=4,
        peer=None,
        root=None,
        phase=Phase.FORWARD,
        module="layers.*.mlp",
        function="MLP.forward",
    )
    return replace(default, **fields)


GATHER = call("all_gather_into_tensor", group="dp", module="layers.*", function="Model.forward")
SCATTER = call("reduce_scatter_tensor", reduce_op="avg", group="dp", module="layers.*", phase=Phase.BACKWARD, function="main")
AGAIN = replace(GATHER, phase=Phase.BACKWARD, function="main")


def device(recomputed: int = 0, *, instances: int = 4, **categories: int) -> DeviceProfile:
    """A device whose peak is of `layers.*.mlp`, in GiB by category."""
    sizes = MappingProxyType({Category(name): gib * GIB for name, gib in categories.items()})
    total = sum(sizes.values())
    return DeviceProfile(
        allocated=total,
        reserved=total,
        peak="backward",
        categories=sizes,
        modules=MappingProxyType({"layers.*.mlp": ModuleMemory(instances=instances, categories=sizes)}),
        recomputed=MappingProxyType({"layers.*": recomputed * GIB} if recomputed else {}),
    )


def ranks(
    calls: Sequence[Call] = (), profile: DeviceProfile | None = None, *, name: str = "all", on: str = "cuda:LOCAL_RANK", ended: str = ""
) -> ClassBaseline:
    return ClassBaseline(
        ranks=name,
        count=4,
        ended=ended,
        schedule=Schedule((Part("each step", folded(calls)),) if calls else ()),
        traffic=MappingProxyType({}),
        devices=MappingProxyType({} if profile is None else {on: profile}),
    )


def job(*classes: ClassBaseline, mesh: str = "dp=2,tp=4") -> Baseline:
    line = JobLine(program="train.py", ranks="8 (1 node x 8)", hardware="h100-80gb", mesh=mesh, steps="2", made_with="fakerun")
    return Baseline(job=line, classes=classes)


def said(old: Baseline, new: Baseline, tolerances: Tolerances = DEFAULT_TOLERANCES) -> list[str]:
    return [difference.message for difference in differences(old, new, tolerances)]


CALLS = {
    "gathered again": (
        [GATHER] * 4 + [SCATTER] * 4,
        [GATHER] * 4 + [AGAIN, SCATTER] * 4,
        ["+4 all_gather_into_tensor on dp in backward of layers.*: reshard_after_forward changed?"],
    ),
    "no longer gathered again": (
        [GATHER] * 4 + [AGAIN, SCATTER] * 4,
        [GATHER] * 4 + [SCATTER] * 4,
        ["-4 all_gather_into_tensor on dp in backward of layers.*: reshard_after_forward changed?"],
    ),
    "gathered in backward, and nothing scattered": (
        [GATHER] * 4,
        [GATHER] * 4 + [AGAIN] * 4,
        ["+4 all_gather_into_tensor on dp in backward of layers.*"],
    ),
    "another operation": (
        [call()] * 4,
        [call("reduce_scatter_tensor")] * 4,
        ["all_reduce became reduce_scatter_tensor on tp in forward of layers.*.mlp (4 calls)"],
    ),
    "another reduction": (
        [call(reduce_op="sum")],
        [call(reduce_op="avg")],
        ["all_reduce on tp in forward of layers.*.mlp reduces with avg instead of sum (1 call)"],
    ),
    "larger messages": (
        [call()] * 2,
        [call(nbytes=6144)] * 2,
        ["bytes of all_reduce on tp in forward of layers.*.mlp x1.5 (4.00 KiB -> 6.00 KiB) (2 calls)"],
    ),
    "another dtype": (
        [call()],
        [call(dtype="bfloat16", nbytes=2048)],
        ["all_reduce on tp in forward of layers.*.mlp is of bfloat16 instead of float32 (1 call)"],
    ),
    "another group": ([call()], [call(group="dp")], ["all_reduce on dp in forward of layers.*.mlp instead of on tp (1 call)"]),
    "a larger group": ([call()] * 2 + [GATHER], [call(group_size=8)] * 2 + [GATHER], ["tp has 8 ranks instead of 4 (2 calls)"]),
    "another root": ([call(root=0)], [call(root=1)], ["all_reduce on tp in forward of layers.*.mlp has another root (1 call)"]),
    "another phase": (
        [call()],
        [call(phase=Phase.OTHER)],
        ["all_reduce on tp in other of layers.*.mlp instead of in forward (1 call)"],
    ),
    "another module": ([call()], [call(module="head")], ["all_reduce on tp in forward of head instead of layers.*.mlp (1 call)"]),
    "another order": (
        [call(), GATHER],
        [GATHER, call()],
        [
            "the order of calls changed: first all_gather_into_tensor on dp in forward of layers.* "
            "where all_reduce on tp in forward of layers.*.mlp was"
        ],
    ),
    "another function": ([call()], [call(function="MLP.add")], []),
    "a barrier": (
        [],
        [call("barrier", dtype="", nbytes=0, group="world", phase=Phase.OTHER, module=None)],
        ["+1 barrier on world"],
    ),
}


@pytest.mark.parametrize(("old", "new", "expected"), CALLS.values(), ids=CALLS)
def test_calls(old: Sequence[Call], new: Sequence[Call], expected: list[str]) -> None:
    assert said(job(ranks(old)), job(ranks(new))) == expected


def test_calls_outside_steps_are_said_with_their_place() -> None:
    step = Part("each step", (call(),))
    old = replace(ranks(), schedule=Schedule((step,)))
    new = replace(ranks(), schedule=Schedule((Part("before the first step", (GATHER,)), step)))
    assert said(job(old), job(new)) == ["+1 all_gather_into_tensor on dp in forward of layers.* before the first step"]


def test_a_first_step_that_changes_as_all_others_do_is_said_once() -> None:
    old = replace(ranks(), schedule=Schedule((Part("first step", (GATHER, call())), Part("later steps", (call(),)))))
    new = replace(ranks(), schedule=Schedule((Part("first step", (GATHER,)),)))
    new = replace(new, schedule=Schedule((Part("first step", (GATHER, call(), SCATTER)), Part("later steps", (call(), SCATTER)))))
    assert said(job(old), job(new)) == ["+1 reduce_scatter_tensor on dp in backward of layers.*"]


def test_a_message_within_its_tolerance_is_no_difference() -> None:
    two_percent = Tolerances(messages=Tolerance(text="2%", share=0.02))
    assert not said(job(ranks([call()])), job(ranks([call(nbytes=4176)])), two_percent)
    assert said(job(ranks([call()])), job(ranks([call(nbytes=4180)])), two_percent)


MEMORY = {
    "a removed checkpoint": (
        device(8, activation=2, parameter=1),
        device(0, activation=5, parameter=1),
        ["peak +3.00 GiB (3.00 GiB -> 6.00 GiB) allocated, +3.00 GiB reserved, activations of layers.*.mlp +3.00 GiB: "
         "activation checkpoint removed?"],
    ),
    "more activations, as much recomputed": (
        device(8, activation=2),
        device(8, activation=5),
        ["peak +3.00 GiB (2.00 GiB -> 5.00 GiB) allocated, +3.00 GiB reserved, activations of layers.*.mlp +3.00 GiB"],
    ),
    "a wider layer": (
        device(parameter=2),
        device(parameter=3),
        [
            "parameters of layers.*.mlp x1.5 (2.00 GiB -> 3.00 GiB): wider layer?",
            "peak +1.00 GiB (2.00 GiB -> 3.00 GiB) allocated, +1.00 GiB reserved, parameters of layers.*.mlp +1.00 GiB",
        ],
    ),
    "more layers": (
        device(parameter=2),
        device(parameter=3, instances=6),
        [
            "parameters of layers.*.mlp x1.5 (2.00 GiB -> 3.00 GiB): 6 modules instead of 4?",
            "peak +1.00 GiB (2.00 GiB -> 3.00 GiB) allocated, +1.00 GiB reserved, parameters of layers.*.mlp +1.00 GiB",
        ],
    ),
    "another mixture": (
        device(activation=2, temporary=2),
        device(activation=3, temporary=1),
        ["the same peak is made up differently, activations of layers.*.mlp +1.00 GiB, temporaries of layers.*.mlp -1.00 GiB"],
    ),
    "the same": (device(activation=2), device(activation=2), []),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new", "expected"), MEMORY.values(), ids=MEMORY)
def test_memory(old: DeviceProfile, new: DeviceProfile, expected: list[str]) -> None:
    assert said(job(ranks(profile=old)), job(ranks(profile=new))) == expected


@pytest.mark.parametrize(("change", "differs"), [(GIB // 100, False), (GIB // 100 + 1, True), (-(GIB // 100) - 1, True)])
def test_one_percent_of_a_peak_is_allowed_in_both_directions(change: int, differs: bool) -> None:
    old = device(activation=1)
    assert bool(said(job(ranks(profile=old)), job(ranks(profile=replace(old, allocated=old.allocated + change))))) is differs


def test_where_modules_are_not_known_categories_are_compared() -> None:
    old, new = device(8, activation=2), replace(device(activation=5), modules=None, recomputed=None)
    assert said(job(ranks(profile=old)), job(ranks(profile=new))) == [
        "peak +3.00 GiB (2.00 GiB -> 5.00 GiB) allocated, +3.00 GiB reserved, activations +3.00 GiB"
    ]


def test_ranks_that_share_a_device() -> None:
    old, new = ranks(profile=device(activation=1)), ranks(profile=device(activation=1), on="cuda:0")
    assert said(job(old), job(new)) == ["ranks use cuda:0 instead of cuda:LOCAL_RANK: set_device missing?"]
    assert said(job(new), job(old)) == ["ranks use cuda:LOCAL_RANK instead of cuda:0"]


def test_another_mesh_explains_what_follows_from_it() -> None:
    """Causes in the model are not guessed: the sizes of parameters follow from the mesh."""
    old = job(ranks([call()], device(parameter=2)))
    new = job(ranks([call(group_size=2)], device(parameter=4)), mesh="dp=4,tp=2")
    assert said(old, new) == [
        "the mesh is dp=4,tp=2 instead of dp=2,tp=4",
        "tp has 2 ranks instead of 4 (1 call)",
        "parameters of layers.*.mlp x2 (2.00 GiB -> 4.00 GiB)",
        "peak +2.00 GiB (2.00 GiB -> 4.00 GiB) allocated, +2.00 GiB reserved, parameters of layers.*.mlp +2.00 GiB",
    ]


def test_what_several_classes_have_is_said_once() -> None:
    old = job(*(ranks([call()], name=f"pp={stage}") for stage in range(4)))
    three = [ranks([call(), call()], name=f"pp={stage}") for stage in range(3)]
    assert said(old, job(*three, ranks([call()], name="pp=3"))) == ["+1 all_reduce on tp in forward of layers.*.mlp, on pp=0; pp=1; pp=2"]
    assert said(old, job(*three, ranks([call(), call()], name="pp=3"))) == ["+1 all_reduce on tp in forward of layers.*.mlp"]


def test_a_new_class_is_compared_with_the_one_that_it_is_like() -> None:
    old = job(ranks([GATHER], name="0-7"))
    new = job(ranks([GATHER], name="0-3"), ranks([GATHER, call()], name="4-7"))
    assert said(old, new) == [
        "class 0-3 is new (4 ranks)",
        "class 4-7 is new (4 ranks)",
        "class 0-7 is gone (4 ranks)",
        "+1 all_reduce on tp in forward of layers.*.mlp, on 4-7",
    ]


def test_a_class_of_other_ranks() -> None:
    assert said(job(ranks(name="0-3")), job(ranks(name="0-2"))) == ["class 0-2 (4 ranks) instead of 0-3 (4 ranks)"]


def test_ranks_that_fail_now() -> None:
    assert said(job(ranks()), job(ranks(ended="failed: ValueError"))) == ["ranks: failed: ValueError; before: came to their end"]


def test_a_call_in_backward_is_placed_where_its_module_is_called() -> None:
    places = Places(calls={GATHER.same: CallSite("model.py", 88), AGAIN.same: CallSite("train.py", 9)})
    added = differences(job(ranks([GATHER])), job(ranks([GATHER, AGAIN])), places=places)
    assert [str(each.call_site) for each in added] == ["model.py:88"]


def test_a_call_that_is_gone_is_placed_in_its_function() -> None:
    places = Places(functions={"MLP.forward": CallSite("model.py", 12)})
    (gone,) = differences(job(ranks([GATHER, call()])), job(ranks([GATHER])), places=places)
    assert str(gone.call_site) == "model.py:12"


def test_checks_list_what_held_and_what_did_not() -> None:
    found = differences(job(ranks([call()])), job(ranks([call(), call()])))
    checks = list(baseline_checks(found, DEFAULT_TOLERANCES, "job.baseline.yaml"))
    assert [check.name for check in checks if not check.passed] == ["baseline.calls"]
    assert len(checks) == len(DifferenceKind)
    (failed,) = [check.finding for check in checks if check.finding is not None]
    assert (failed.code.value, failed.message) == ("baseline-drift", "+1 all_reduce on tp in forward of layers.*.mlp")
