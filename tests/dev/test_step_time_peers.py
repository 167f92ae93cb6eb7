"""`scripts/dev/step_time_peers.py`: what it gives other estimators of a record that is built by hand."""

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from dev.step_time import ROWS, Row
from dev.step_time_peers import LLAMA_8B, SETTINGS, Setting, calculon_seconds, inductor_seconds, last_step, line, torch_seconds

from fakerun.hardware.catalogue import hardware_named
from fakerun.records.collective import CollectiveOp
from fakerun.records.run import RankRecord
from tests.unit.steps_by_hand import RankByHand

H100 = hardware_named("h100-80gb")
MIB = 2**20


def record(*products: int, calls: int = 0, steps: int = 2) -> RankRecord:
    """Steps of square products of bfloat16 with so many rows, and of all-reduces of 64 MiB."""
    rank = RankByHand(group=tuple(range(8)))
    for _ in range(steps):
        for size in products:
            matrix = f"bfloat16[{size},{size}]"
            rank.operation("aten.mm.default", f"{matrix}, {matrix}", matrix)
        for _ in range(calls):
            rank.call(64 * MIB, CollectiveOp.ALL_REDUCE)
        rank.end_step()
    made = rank.record()
    numbered = [replace(each, step=number // calls, device=0) for number, each in enumerate(made.collectives)]
    return replace(made, collectives=tuple(numbered))


def test_the_last_step_is_counted() -> None:
    made = record(1024, 2048, 1024, steps=3)
    names = [made.program.operations[number].arguments.partition(",")[0] for number in last_step(made)]
    assert len(names) == 3
    assert names[0] == names[2] != names[1]
    assert list(last_step(record(1024, steps=1))) == [0]


def test_the_formula_of_torch_is_half_the_flops_at_three_quarters_of_the_peak() -> None:
    size = 8192
    assert H100.bfloat16_flops is not None
    assert torch_seconds(record(size), H100) == pytest.approx(size**3 / (0.75 * H100.bfloat16_flops))
    assert torch_seconds(record(size, size), H100) == pytest.approx(2 * torch_seconds(record(size), H100))


def test_small_products_take_the_time_of_their_bytes() -> None:
    size = 64
    assert H100.memory_bytes_per_s is not None
    assert torch_seconds(record(size), H100) == pytest.approx(3 * 2 * size**2 / H100.memory_bytes_per_s)


class Calculon:
    """Stands for a checkout of Calculon: keeps what it is given, and takes as many seconds as the batch has sequences."""

    def __init__(self) -> None:
        self.given: dict[str, Any] = {}
        outer = self

        class Llm:
            class Error(Exception):
                pass

            class Execution:
                @staticmethod
                def from_json(figures: dict[str, Any]) -> dict[str, Any]:
                    return outer.given.setdefault("execution", figures)

            @staticmethod
            def Application(figures: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 - Calculon's name
                return outer.given.setdefault("application", figures)

            def __init__(self, application: dict[str, Any], log: object) -> None:
                pass

            def compile(self, system: object, execution: dict[str, Any]) -> None:
                if execution["tensor_par"] > 8:
                    raise Llm.Error("too many ranks on a node")
                self.seconds = execution["batch_size"]

            def run(self, system: object) -> None:
                pass

            def get_total_time(self) -> float:
                return float(self.seconds)

        self.modules = {"calculon": ModuleType("calculon"), "calculon.llm.llm": ModuleType("llm"), "calculon.system": ModuleType("system")}
        self.modules["calculon"].read_json_file = lambda path: outer.given.setdefault(  # type: ignore[attr-defined]
            "system", {"path": path, "mem1": {"GiB": 80}}
        )
        self.modules["calculon.llm.llm"].Llm = Llm  # type: ignore[attr-defined]
        self.modules["calculon.system"].System = dict  # type: ignore[attr-defined]


@pytest.fixture
def calculon(monkeypatch: pytest.MonkeyPatch) -> Calculon:
    peer = Calculon()
    for name, module in peer.modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return peer


def row(**others: Any) -> Row:
    fields = {"hardware": "h100-96gb", "world_size": 16, "program": {}, "group": "dense", "published_s": 1.0, **others}
    return Row(id="one", what="One", source="a page", **fields)


def test_calculon_is_given_model_mesh_and_batch(calculon: Calculon) -> None:
    setting = Setting(**LLAMA_8B, seq_len=4096, micro_batch=2, micro_batches=3, tp=4, recompute="full")
    assert calculon_seconds(Path("/calculon"), row(), setting) == 4 * 2 * 3
    assert calculon.given["application"] == {
        "hidden": 4096,
        "feedforward": 21504,
        "seq_size": 4096,
        "attn_heads": 32,
        "attn_size": 128,
        "num_blocks": 32,
    }
    execution = calculon.given["execution"]
    assert (execution["num_procs"], execution["tensor_par"], execution["data_par"], execution["microbatch_size"]) == (16, 4, 4, 2)
    assert (execution["data_par_net"], execution["tensor_par_comm_type"], execution["activation_recompute"]) == (1, "rs_ag", "full")
    assert calculon.given["system"]["path"] == "/calculon/systems/h100_80g_nvl8.json"
    assert calculon.given["system"]["mem1"]["GiB"] > 1000


def test_data_parallel_ranks_of_one_node_use_its_links(calculon: Calculon) -> None:
    calculon_seconds(Path("/calculon"), row(hardware="a100-80gb", world_size=8), Setting(**LLAMA_8B, seq_len=4096, micro_batch=1))
    assert calculon.given["execution"]["data_par_net"] == 0
    assert calculon.given["system"]["path"].endswith("a100_80g.json")


def test_what_calculon_refuses_is_said(calculon: Calculon) -> None:
    assert calculon_seconds(Path("/calculon"), row(), Setting(**LLAMA_8B, seq_len=4096, micro_batch=1, tp=16)) == "too many ranks on a node"


def test_rows_that_calculon_is_asked_about_exist_and_their_mesh_divides_the_world() -> None:
    rows = {each["id"]: each for each in yaml.safe_load(ROWS.read_text(encoding="utf-8"))["rows"]}
    for name, setting in SETTINGS.items():
        assert rows[name]["world_size"] % (setting.tp * setting.pp) == 0
        assert setting.dim % setting.heads == 0


def test_a_row_without_a_run_has_no_line(tmp_path: Path) -> None:
    assert line(row(), tmp_path, None) is None


def test_inductor_is_asked_about_each_call_of_the_last_step() -> None:
    once, twice = (inductor_seconds(record(64, calls=calls), H100) for calls in (1, 2))
    assert inductor_seconds(record(64), H100) == 0
    assert 50e-6 < once < 5e-3, "64 MiB over NVLink"
    assert twice == pytest.approx(2 * once)
