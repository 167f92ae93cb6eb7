"""The rank is followed through the program: what it tests is recorded, and what it sees is an ordinary number.

Rank 21 of 64, on nodes of 8, so that it is 5 on its node and its node is 2.
"""

import copy
import ctypes
import importlib
import importlib.machinery
import json
import os
import pickle
import runpy
import statistics
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from fakerun.launch.environment import worker_environment
from fakerun.rank.simulation import Simulation
from fakerun.rank.tracebacks import strip_simulation
from tests.in_process import simulation_of
from tests.rank_functions import text_of

RANK = 21
PROLOGUE = """import os; import torch; import torch.distributed as dist; \
rank = dist.get_rank(); local_rank = int(os.environ["LOCAL_RANK"]); node = int(os.getenv("GROUP_RANK"))
"""
_numbers = count()
_compile_plain = compile

Run = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulation]:
    """The simulation of a rank that is followed, with a default group."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        simulation, job = simulation_of(RANK, nnodes=8, nproc_per_node=8, auto_ranks=True, ranks=())
        directory = tmp_path_factory.mktemp("programs")
        for name, value in worker_environment(job, RANK, inherited={}, error_file=directory / "error.json").items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(directory)
        monkeypatch.syspath_prepend(str(directory))
        with simulation:
            dist.init_process_group("gloo")
            yield simulation


class Program:
    """A program of some lines behind the prologue, run in the simulation, and what was recorded of it."""

    def __init__(self, simulation: Simulation, text: str) -> None:
        self.name = f"program_{next(_numbers)}"
        file = Path(f"{self.name}.py").absolute()
        file.write_text(PROLOGUE + text)
        self.values: dict[str, Any] = {"__name__": "__main__"}
        try:
            exec(compile(file.read_bytes(), str(file), "exec"), self.values)
        finally:
            record = simulation.seen()
            self.tests = [
                (test.call_site.line - 1, text_of(test.function), test.outcome)
                for test in record.rank_tests
                if test.call_site is not None and test.call_site.path == file.name
            ]
            self.unfollowed = [
                (use.call_site.line - 1, use.kind, use.count)
                for use in record.unfollowed_uses
                if use.call_site is not None and use.call_site.path == file.name
            ]


FORMS = {
    "rank == 3": ["rank == 3", 0],
    "3 == rank": ["rank == 3", 0],
    "rank != 3": ["rank != 3", 1],
    "16 < rank": ["rank > 16", 1],
    "rank == 21.0": ["rank == 21.0", 1],
    "rank == local_rank": ["rank == local_rank", 0],
    "node == 2": ["node_rank == 2", 1],
    "not rank": ["boolrank", 1],
    "bool(rank)": ["boolrank", 1],
    "rank and 1": ["boolrank", 1],
    "rank == 0 or rank == 21": ["rank == 0", 0, "rank == 21", 1],
    "16 <= rank < 24": ["rank >= 16", 1, "rank < 24", 1],
    "rank // 8 == 2": ["(rank // 8) == 2", 1],
    "rank % 8 == 5": ["(rank % 8) == 5", 1],
    "divmod(rank, 8) == (2, 5)": ["(rank // 8) == 2", 1, "(rank % 8) == 5", 1],
    "(rank + 1) % 64 == 0": ["((rank + 1) % 64) == 0", 0],
    "1 + rank + 1 + 1 == 24": ["((1 + rank) + 2) == 24", 1],
    "64 - rank == 43": ["(64 - rank) == 43", 1],
    "rank & 1": [],
    "bool(rank & 1)": ["bool(rank & 1)", 1],
    "(rank ^ 1) == 20": ["(rank ^ 1) == 20", 1],
    "rank >> 3 == 2": ["(rank >> 3) == 2", 1],
    "1 << local_rank == 32": ["(1 << local_rank) == 32", 1],
    "~rank == -22": ["(~rank) == -22", 1],
    "-rank < 0": ["(-rank) < 0", 1],
    "abs(rank - 30) == 9": ["(abs(rank - 30)) == 9", 1],
    "rank ** 2 == 441": ["(rank ** 2) == 441", 1],
    "rank / 2 == 10.5": ["(rank / 2) == 10.5", 1],
    "int(rank / 8) == 2": ["(int(rank / 8)) == 2", 1],
    "__import__('math').floor(rank / 8) == 2": ["(int((rank / 8) // 1)) == 2", 1],
    "rank < float('inf')": [],
    "rank == rank": [],
    "rank is None": [],
    "rank == 'a'": [],
    "min(rank, 4)": ["rank > 4", 1],
    "sorted([rank, 4])": ["rank > 4", 1],
    "any(i == rank for i in range(20, 23))": ["rank == 20", 0, "rank == 21", 1],
    # Collections.
    "rank in [3, 21]": ["rank in [3, 21]", 1],
    "rank in (3, 4)": ["rank in [3, 4]", 0],
    "rank not in {3, 4}": ["rank in [3, 4]", 0],
    "rank in {3: 'a'}": ["rank in [3]", 0],
    "rank in {3: 'a'}.keys()": ["rank in [3]", 0],
    "rank in frozenset()": [],
    "rank in [None, 'a', 21]": ["rank in [21]", 1],
    "rank in [local_rank, 3]": ["rank == local_rank", 0, "rank in [3]", 0],
    "rank in range(16, 24)": ["rank in [16, 17, 18, 19, 20, 21, 22, 23]", 1],
    "rank in range(1000)": ["rank >= 0", 1, "rank <= 999", 1],
    "rank in range(1, 1000, 4)": ["rank >= 1", 1, "rank <= 997", 1, "((rank - 1) % 4) == 0", 1],
    "3 in [rank]": ["rank == 3", 0],
    "(node, local_rank) in {(0, 0), (2, 5)}": [
        "((node_rank == 0) & (local_rank == 0)) | ((node_rank == 2) & (local_rank == 5))",
        1,
    ],
    "(node, local_rank) == (2, 5)": ["node_rank == 2", 1, "local_rank == 5", 1],
    "[3, 21].count(rank)": ["rank in [3, 21]", 1],
    "[3, 21].index(rank) == 1": ["([3, 21].index(rank)) == 1", 1],
    "'abc'[rank % 3]": ["(rank % 3) < 3", 1, "[0, 1, 2][rank % 3]", 0],
    "['a', 'b', 'a'][rank % 3] == 'a'": ["(rank % 3) < 3", 1, "[0, 1, 0][rank % 3]", 0],
    "[7, 8][rank % 2] == 8": ["(rank % 2) < 2", 1, "([7, 8][rank % 2]) == 8", 1],
    "([5] * 64)[rank]": ["rank < 64", 1],
    "[True, False][node % 2]": ["(node_rank % 2) < 2", 1, "[0, 1][node_rank % 2]", 0],
    "{0: 'a'}.get(rank)": ["[0, 1][[0].index(rank)]", 1],
    "{0: 'a'}.get(rank, 'a')": [],
    "{0: 3, 21: 4}.get(rank, 5) == 4": ["([3, 4, 5][[0, 21].index(rank)]) == 4", 1],
    "{21: None}[rank]": ["rank in [21]", 1],
    "{20: 1, 21: 2}[rank] == 2": ["rank in [20, 21]", 1, "([1, 2, 2][[20, 21].index(rank)]) == 2", 1],
    "[print, len][rank % 2]": ["(rank % 2) < 2", 1, "[0, 1][rank % 2]", 1],
    "list(range(8))[:node]": ["node_rank", 2],
    "len(range(rank))": ["-((0 - rank) // 1)", 21],
    "__import__('numpy').arange(3)[rank % 3]": ["[0, 1, 2][rank % 3]", 0],
    "__import__('numpy').int64(3) == rank": ["3 == rank", 0],
    "rank == __import__('numpy').int64(3)": ["3 == rank", 0],
    "rank in __import__('numpy').arange(3)": ["rank in [0, 1, 2]", 0],
    "torch.ones(rank % 3 + 1).sum() * 0": ["(rank % 3) + 1", 1],
    "torch.zeros((2, node)).numel()": ["node_rank", 2],
    "torch.ones(6).view(-1, node).shape[0]": ["node_rank", 2],
    "torch.ones(64, device='cuda')[:rank].numel()": ["rank", 21],
    "torch.nn.Linear(2, node).out_features == 2": ["node_rank", 2, "node_rank == 2", 1],
    "len(torch.nn.ModuleList([torch.nn.ReLU(), torch.nn.ReLU()])[:node])": ["node_rank", 2],
    # Text.
    "os.environ['RANK'] == '21'": ["rank == 21", 1],
    "os.environ.get('LOCAL_RANK', '0') in ('0', '5', 'x')": ["local_rank in [0, 5]", 1],
    "'0' == os.environ['RANK']": ["rank == 0", 0],
    "os.environ['RANK'] == '021'": [],
    "str(rank) == '3'": ["rank == 3", 0],
    "repr(rank) == '3'": ["rank == 3", 0],
    "f'{str(rank)}' == '3'": ["rank == 3", 0],
    "f'rank {str(rank)}' == 'rank 3'": ["rank == 3", 0],
    "list(map(int, [os.environ['RANK']]))[0] == 3": ["rank == 3", 0],
    "(lambda kind: kind(os.environ['RANK']))(int) == 3": ["rank == 3", 0],
    "torch.arange(rank, 64, 8).numel()": ["-((rank - 64) // 8)", 6],
    "str(int(str(rank))) != '3'": ["rank == 3", 0],
    "f'{rank}' == '3'": ["rank == 3", 0],
    "f'cuda:{local_rank}' == 'cuda:0'": ["local_rank == 0", 0],
    "'rank_' + str(rank) == 'rank_3'": ["rank == 3", 0],
    "'-'.join(['a', str(rank)]) == 'a-3'": ["rank == 3", 0],
    "{'21': 1}.get(str(rank)) == 1": ["[0, 1][[21].index(rank)]", 0],
    "{'r21': 1, 'b': 2}[f'r{rank}']": ["rank in [21]", 1],
    "int(os.environ['RANK']) == 3": ["rank == 3", 0],
    # torch.distributed.
    "dist.get_rank(dist.group.WORLD) == 3": ["rank == 3", 0],
    "dist.group.WORLD.rank() == 3": ["rank == 3", 0],
    "dist.get_node_local_rank() == 3": ["local_rank == 3", 0],
    "dist.get_group_rank(dist.group.WORLD, rank) == 3": ["rank == 3", 0],
    # Devices.
    "torch.cuda.set_device(local_rank) or torch.cuda.current_device() == 3": ["local_rank == 3", 0],
    "torch.cuda.set_device(local_rank) or torch.accelerator.current_device_index() == 3": ["local_rank == 3", 0],
    "torch.device('cuda', local_rank).index == 3": ["local_rank == 3", 0],
    "torch.ones(2, device=f'cuda:{local_rank}').device.index in (3, 5)": ["local_rank in [3, 5]", 1],
    "torch.ones(2, device=f'cuda:{local_rank}').get_device() == 3": ["local_rank == 3", 0],
    "torch.ones(2).get_device()": [],
    "torch.device('cuda', local_rank) == torch.device('cuda:0')": ["local_rank == 0", 0],
    "torch.device('cuda:0') != torch.device('cuda', local_rank)": ["local_rank == 0", 0],
    "torch.device('cuda', local_rank) == torch.ones(2, device=f'cuda:{local_rank}').device": [],
    "torch.device('cuda', local_rank) == torch.device('cpu')": [],
    "str(torch.device('cuda', local_rank)) == 'cuda:3'": ["local_rank == 3", 0],
    "f'{torch.device(local_rank)}' == 'cuda:3'": ["local_rank == 3", 0],
    "torch.cuda.set_device(local_rank) or torch.ones(2, device='cuda').device.index == torch.cuda.current_device()": [],
    "torch.cuda.set_device(0) or torch.cuda.current_device() == 3": [],
}
"""An expression: the tests that it makes, each with its outcome."""


@pytest.mark.parametrize("form", FORMS)
def test_forms(followed: Simulation, form: str) -> None:
    program = Program(followed, f"\nvalue = {form}\n")
    expected = FORMS[form]
    assert program.tests == [(2, text, outcome) for text, outcome in zip(expected[::2], expected[1::2], strict=True)]
    assert program.unfollowed == []
    # The value is what it is with a plain rank.
    plain = {"rank": RANK, "local_rank": 5, "node": 2, "os": os, "dist": dist, "torch": torch}
    assert program.values["value"] == eval(form, {**plain, "print": program.values.get("print", print)})


UNFOLLOWED = {
    "list(range(1000))[rank::64]": "index",
    "list(range(1000))[rank * 8 : rank * 8 + 8]": "index",
    "[object() for _ in range(100)][rank]": "index",
    "torch.arange(64)[rank]": "index",
    "list(__import__('itertools').islice(range(1000), rank, None, 64))": "index",
    "torch.manual_seed(42 + rank)": "seed",
    "__import__('random').seed(rank)": "seed",
    "__import__('numpy').random.seed(rank)": "seed",
    "__import__('numpy').random.default_rng(rank)": "seed",
    "f'part_{rank}'.upper()": "text",
    "f'{rank:03d}' == '003'": "text",
    "'%d' % rank == '3'": "text",
    "'{}'.format(rank) == '3'": "text",
    "f'{rank}-{local_rank}' == '3-3'": "text",
    "open(f'part_{rank}.txt') if os.path.isdir('x') else os.path.exists(f'./part_{rank}.txt')": "text",
    "__import__('pathlib').Path('parts', str(rank), 'x.txt').exists()": "text",
    "next(iter(torch.utils.data.DistributedSampler(range(99))), None)": "index",
    "{rank} & {3, 4}": "index",
    "{rank, 3} == {3}": "index",
    "frozenset([rank]) <= frozenset({3})": "index",
    "set((rank, 4)).issubset([3])": "index",
    "{3, 4}.isdisjoint([rank])": "index",
    "frozenset({3, 4}).issuperset((rank,))": "index",
    "{3, 4}.intersection([rank])": "index",
    # What C, or Python's own modules, read unseen.
    "hash(rank)": "argument",
    "{3, 4}.add(rank)": "argument",
    "{3, 4}.__contains__(rank)": "argument",
    "bytes([rank])": "argument",
    "__import__('struct').pack('i', rank)": "argument",
    "__import__('array').array('i', [rank])": "argument",
    "__import__('ctypes').c_int(rank)": "argument",
    "__import__('decimal').Decimal(rank)": "argument",
    "__import__('pickle').dumps(rank)": "argument",
    "__import__('operator').itemgetter(rank)": "argument",
    "__import__('random').Random(3).sample(range(99), k=rank % 8)": "argument",
    "__import__('numpy').array([rank, 0])[0] == 3": "argument",
    "__import__('numpy').int64(rank) == 3": "argument",
    "__import__('numpy').full(2, rank)": "argument",
    "__import__('numpy').isin(rank, [3, 4])": "argument",
    "__import__('numpy').zeros(rank).size == 3": "argument",
    "(torch.tensor([3, 4]) == rank).any()": "argument",
    "torch.arange(64).view(8, 8).eq(rank).nonzero()": "argument",
    "torch.full_like(torch.zeros(1), rank)": "argument",
    "torch.zeros(1).fill_(rank)": "argument",
    "__import__('json').loads(__import__('json').dumps({'rank': rank}))": "text",
    "__import__('json').loads(os.environ['RANK']) == 3": "text",
    "__import__('ast').literal_eval(os.environ['RANK']) == 3": "text",
    "__import__('re').findall('[0-9]+', f'rank{rank}')": "text",
    "__import__('zlib').crc32(f'rank{rank}'.encode())": "text",
    "'r3 r4'.find(f'r{rank}')": "text",
    "hasattr(os, f'rank{rank}')": "text",
    "str([rank]) == '[3]'": "text",
    "bin(rank).count('1') == 1": "text",
    "hex(rank) == '0x3'": "text",
    "chr(65 + local_rank) == 'A'": "text",
    "__import__('re').match('3', str(rank))": "text",
    "__import__('math').log2(rank + 1) > 3": "argument",
    "__import__('math').gcd(rank, 4) == 4": "argument",
    "torch.tensor([[3, rank]]).tolist()": "argument",
    "torch.tensor(rank, device='cuda') == 3": "argument",
    "torch.as_tensor(data=(rank, 1)).sum() == 3": "argument",
    "torch.full((2,), rank)": "argument",
    "round(rank / 8)": "argument",
    "rank.bit_length()": "argument",
    "[0] * rank": "argument",
    "__import__('math').sqrt(rank)": "argument",
    "__import__('numpy').arange(64) == rank": "argument",
    "any(i == rank for i in range(63, -1, -1) if i != 21) or any(i == rank for i in range(100, 200))": "scan",
}
"""An expression: the kind of use after which the rank is not followed."""


@pytest.mark.parametrize("form", UNFOLLOWED)
def test_uses_that_cannot_be_followed_are_named(followed: Simulation, form: str) -> None:
    program = Program(followed, f"\nvalue = {form}\n")
    assert [(line, kind) for line, kind, _ in program.unfollowed] == [(2, UNFOLLOWED[form])]


HARMLESS = (
    "torch.cuda.set_device(local_rank)",
    "torch.device('cuda', local_rank)",
    "torch.ones(2, device=f'cuda:{local_rank}')",
    "torch.ones(2).cuda(local_rank)",
    "torch.ones(2).to(local_rank)",
    "torch.ones(2) * rank",
    "print(rank, f'{rank} of {64}', 'rank %d' % rank)",
    "__import__('logging').getLogger('x').warning('rank %s', rank)",
    "dist.send(torch.ones(2), (rank + 1) % 64)",
    "dist.broadcast(torch.ones(2), src=rank)",
    "isinstance(rank, int) and type(rank) is int and type(os.environ['RANK']) == str",
    "{rank: 1}",
    "hash((rank, 3))",
    "__import__('json').dumps({'rank': rank, 'lr': 0.1})",
    "ValueError(f'rank {rank}: {local_rank}')",
    "__import__('types').SimpleNamespace(rank=rank)",
    "[].append(rank)",
    "__import__('sys').stdout.write(f'{rank}')",
    "__import__('time').sleep(0 * rank)",
    "f'on {torch.device(local_rank)}'",
    "open(f'out_{rank}.txt', 'w').close()",
    "open('program_0.py').close()",
    "torch.save({}, f'saved_{rank}.pt')",
)


@pytest.mark.parametrize("form", HARMLESS)
def test_harmless_uses_are_none(followed: Simulation, form: str) -> None:
    program = Program(followed, f"\nvalue = {form}\n")
    assert (program.tests, program.unfollowed) == ([], [])


def test_what_python_sees_is_a_number(followed: Simulation) -> None:
    values = Program(followed, "x = rank + 1\ny = rank / 2\nenv = os.environ['RANK']\ntext = f'r{rank}'").values
    x, y, env, text = (values[name] for name in ("x", "y", "env", "text"))
    for value, plain in ((x, 22), (y, 10.5), (env, "21"), (text, "r21")):
        kind = type(plain)
        assert isinstance(value, kind)
        assert value == plain
        assert hash(value) == hash(plain)
        assert type(pickle.loads(pickle.dumps(value))) is kind
        assert json.dumps({"a": [value], str(value): value}) == json.dumps({"a": [plain], str(plain): plain})
        assert repr(value) == repr(plain)
        assert f"{value:>6}|{value!r}|{value}" == f"{plain:>6}|{plain!r}|{plain}"
        assert "%s" % value == "%s" % plain  # noqa: UP031
        assert copy.copy(value) == copy.deepcopy([value])[0] == plain
        assert {plain: 1}[value] == 1
    assert statistics.mean([x, 2]) == 12
    assert type(type(x)(3)) is int
    assert type(type(y)(3)) is float
    assert type(type(text)(3)) is str
    assert ctypes.c_int(x).value == 22
    assert torch.full((2,), x).tolist() == [22, 22]
    assert torch.tensor([x, y]).tolist() == [22.0, 10.5]
    assert torch.zeros(x).shape == (22,)
    assert list(range(x)) == list(range(22))
    assert bytes(x) == bytes(22)
    assert "abc"[x - 22] == "a"


@pytest.mark.parametrize(
    "moved",
    [
        "torch.nn.Linear(2, 2).to(local_rank)",
        "torch.nn.Linear(2, 2).to(device=local_rank)",
        "torch.nn.Linear(2, 2).cuda(local_rank)",
        "torch.nn.Linear(2, 2, device=local_rank)",
    ],
)
def test_modules_go_to_the_device_of_a_followed_number(followed: Simulation, moved: str) -> None:
    values = Program(followed, f"weight = {moved}.weight\n").values
    assert str(values["weight"].device) == "cuda:5"


def test_numpy_sees_a_number(followed: Simulation) -> None:
    np = pytest.importorskip("numpy")
    x = Program(followed, "x = rank + 1").values["x"]
    assert np.array(x).dtype == np.array([x]).dtype == np.int64
    assert (np.arange(3) * x).tolist() == (x * np.arange(3)).tolist() == [0, 22, 44]
    assert (np.add(x, 1), np.maximum(x, 3)) == (23, 22)
    assert type(np.int64(1) + x) is type(x + np.int64(1)) is np.int64
    assert np.zeros(x).shape == (22,)


def test_other_processes_see_plain_variables(followed: Simulation) -> None:
    program = "import os; print(os.environ['RANK'], os.environ['COPY'])"
    environment = {**os.environ.copy(), "COPY": os.environ["RANK"]}
    assert subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True).stdout == "21 21\n"


def test_a_variable_that_the_program_sets_is_what_it_sets(followed: Simulation) -> None:
    text = "os.environ['MINE'] = os.environ['RANK']\nint(os.environ['MINE']) != 3\nos.environ['MINE'] = '21'\nint(os.environ['MINE']) == 3"
    assert Program(followed, text).tests == [(2, "rank != 3", 1)]


def test_the_mesh_tells_coordinates(followed: Simulation) -> None:
    text = """
from torch.distributed.device_mesh import init_device_mesh
mesh = init_device_mesh("cpu", (2, 4, 8), mesh_dim_names=("pp", "dp", "tp"))
mesh.get_local_rank("dp") == 2
mesh.get_local_rank(2) == 5
mesh["pp"].get_local_rank() == 0
mesh.get_coordinate()[1] == 1
mesh.get_coordinate() == [0, 2, 5]
mesh.get_rank() == 0
mesh["tp"].get_group().rank() == 3
from torch.distributed.device_mesh import DeviceMesh
few = DeviceMesh("cpu", [3, 4, 21, 22])
few.get_local_rank() == 0
dist.get_group_rank(global_rank=rank, group=few.get_group()) == 0
"""
    tests = Program(followed, text).tests
    dp = "((rank // 8) % 4)"
    assert [(line, test) for line, test, _ in tests if line in (4, 5, 6, 7, 9, 10)] == [
        (4, f"{dp} == 2"),
        (5, "(rank % 8) == 5"),
        (6, "(rank // 32) == 0"),
        (7, f"{dp} == 1"),
        (9, "rank == 0"),
        (10, "(rank % 8) == 3"),
    ]
    assert [test for test in tests if test[0] > 10] == [
        (13, "rank in [3, 4, 21, 22]", 1),
        (13, "place in [3, 4, 21, 22] == 0", 0),
        (14, "place in [3, 4, 21, 22] == 0", 0),
    ]


def test_groups_tell_positions(followed: Simulation) -> None:
    tests = Program(followed, "group = dist.new_group([3, 21, 7])\ndist.get_rank(group) == 0").tests
    assert tests == [(2, "place in [3, 7, 21] == 0", 0)]


def test_the_place_of_the_own_rank_is_looked_up_without_a_test(followed: Simulation) -> None:
    """torch finds it in a dictionary; compared with its keys it would be a test that singles out this rank."""
    program = Program(followed, "group = dist.new_group([3, 21, 7])\ndist.get_group_rank(group, rank) == 0")
    assert program.tests == [(2, "place in [3, 7, 21] == 0", 0)]
    sites = {test.call_site.path for test in followed.seen().rank_tests if test.call_site is not None}
    assert not [path for path in sites if path.endswith("distributed_c10d.py")]


def test_ranks_of_a_new_group_are_no_tests(followed: Simulation) -> None:
    program = Program(followed, "\nfor i in range(64):\n    dist.new_group([i, (i + 1) % 64])\n")
    assert (program.tests, program.unfollowed) == ([], [])


def test_library_modules_and_modules_that_import_them(followed: Simulation) -> None:
    Path("library_of_ranks.py").write_text("from torch.distributed import get_rank\ndef chosen(ranks):\n    return get_rank() in ranks\n")
    Program(followed, "import library_of_ranks\nlibrary_of_ranks.chosen({1, 2})\n")
    tests = [test for test in followed.seen().rank_tests if str(test.call_site) == "library_of_ranks.py:3"]
    assert [text_of(test.function) for test in tests] == ["rank in [1, 2]"]
    assert not list(Path("__pycache__").glob("library_of_ranks*"))


def test_an_option_of_argparse_is_followed(followed: Simulation) -> None:
    text = """
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("--local-rank", type=int, default=os.environ["LOCAL_RANK"])
parser.parse_args([]).local_rank == 0
"""
    assert Program(followed, text).tests == [(5, "local_rank == 0", 0)]


def test_shards_that_differ_in_size_are_tests(followed: Simulation) -> None:
    """10 rows on 8 ranks: five have two, three have none; as shards of DTensor, the padding differs."""
    text = """
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Shard, distribute_tensor
mesh = init_device_mesh("cuda", (8, 8), mesh_dim_names=("dp", "tp"))
fully_shard(torch.nn.Linear(10, 10, device="cuda"), mesh=mesh["tp"])
distribute_tensor(torch.randn(10, 3, device="cuda"), mesh["tp"], [Shard(0)])
fully_shard(torch.nn.Linear(16, 16, device="cuda"), mesh=mesh["tp"])
"""
    tests = Program(followed, text).tests
    assert set(tests) == {(line, "[0, 0, 0, 0, 0, 1, 1, 1][rank % 8]", 1) for line in (6, 7)}


FAILING = """'The docstring.'
from __future__ import annotations
import os

def fails(table, place, value):
    return [f"{value}", table[place], "between"]

class Holder:
    __slots__ = ("table",)
    def get(self, place, default=None):
        return self.table[place] if place in self.table else int(place)

def annotated(value: list[undefined]) -> undefined: ...
"""


@pytest.mark.parametrize(
    "call", ["fails({}, 'absent', 1)", "fails([], 3, 1)", "fails([1], 0, Holder().table)", "Holder.get(Holder(), 1)", "int(int('x'))"]
)
def test_tracebacks_are_those_of_the_program_as_it_is_written(followed: Simulation, call: str) -> None:
    file = Path("failing.py").absolute()
    file.write_text(f"{FAILING}{call}\n")

    def traceback_of(code: Any) -> list[str]:
        try:
            exec(code, {})
        except Exception as error:
            strip_simulation(error)
            return traceback.format_exception(error)[2:]  # without the line above
        raise AssertionError("it does not fail")

    rewritten = compile(file.read_bytes(), str(file), "exec")
    assert "__fakerun_ranks__" in rewritten.co_names
    plain = _compile_plain(file.read_bytes(), str(file), "exec", dont_inherit=True)
    assert traceback_of(rewritten) == traceback_of(plain)
    assert rewritten.co_flags == plain.co_flags
    assert rewritten.co_consts[0] == plain.co_consts[0] == "The docstring."


def test_yaml_writes_numbers(followed: Simulation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loaded before the simulation or while it runs."""
    text = "import yaml\nvalue = yaml.safe_dump({'a': rank, 'b': f'r{rank}', 'c': rank / 2}) + yaml.dump([rank])"
    assert Program(followed, text).values["value"] == "a: 21\nb: r21\nc: 10.5\n- 21\n"
    for name in [name for name in sys.modules if name.partition(".")[0] == "yaml"]:
        monkeypatch.delitem(sys.modules, name)
    assert Program(followed, text).values["value"] == "a: 21\nb: r21\nc: 10.5\n- 21\n"


def test_what_other_compilers_read_is_left_as_it_is(followed: Simulation) -> None:
    text = """
import functools
jit = functools.cache
@jit
def kernel(x): return (1, 2)[x]
def function(x): return (1, 2)[x]
"""
    values = Program(followed, text).values
    assert "__fakerun_ranks__" not in values["kernel"].__wrapped__.__code__.co_names
    assert "__fakerun_ranks__" in values["function"].__code__.co_names


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # 2.15
def test_torch_compile_and_script_read_rewritten_functions(followed: Simulation) -> None:
    text = """
def scaled(x: torch.Tensor, i: int):
    sizes = [1, 2, 3]
    return x * sizes[i]
scripted = torch.jit.script(scaled)(torch.ones(1), 2)
compiled = torch.compile(scaled)(torch.ones(1), 2)
import inspect
source = inspect.getsource(scaled)
traced = torch.fx.symbolic_trace(lambda x: x[0] + x[len(source) * 0])(torch.ones(2))
"""
    values = Program(followed, text).values
    assert values["scripted"] == values["compiled"] == 3
    assert values["source"].endswith("return x * sizes[i]\n")
    assert values["traced"] == 2


def test_modules_keep_what_their_loader_tells(followed: Simulation) -> None:
    Path("package_of_ranks").mkdir(exist_ok=True)
    Path("package_of_ranks/__init__.py").write_text("def f(a, b): return a in b\n")
    Path("package_of_ranks/__main__.py").write_text("import sys\nprint(sys.argv[0], __spec__.name, [1, 2][len(__name__) % 2])\n")
    Path("namespace_of_ranks").mkdir(exist_ok=True)
    Path("namespace_of_ranks/part.py").write_text("value = {1: 2}[int('1')]\n")
    module = importlib.import_module("package_of_ranks")
    assert module.__spec__ is not None
    assert module.__file__ == module.__spec__.origin == str(Path("package_of_ranks/__init__.py").absolute())
    assert isinstance(module.__loader__, importlib.machinery.SourceFileLoader)
    assert module.__loader__.get_source("package_of_ranks") == Path("package_of_ranks/__init__.py").read_text()
    assert importlib.import_module("namespace_of_ranks.part").value == 2
    assert "__fakerun_ranks__" in vars(module)
    assert runpy.run_module("package_of_ranks", run_name="__main__")["__name__"] == "__main__"
    assert runpy.run_path("namespace_of_ranks/part.py")["value"] == 2


def test_a_test_in_every_step_is_recorded_once(followed: Simulation) -> None:
    assert Program(followed, "\nfor _ in range(5000):\n    if rank == 0 or rank in [1]: pass\n").tests == [
        (3, "rank == 0", 0),
        (3, "rank in [1]", 0),
    ]


def test_a_running_sum_is_followed_for_as_long_as_it_is_short(followed: Simulation) -> None:
    program = Program(followed, "total = rank\nfor i in range(500):\n    total += i\ntotal == 3\nfor i in range(500):\n    total *= 3\n")
    assert program.tests == [(4, "(rank + 124750) == 3", 0)]
    assert [(line, kind) for line, kind, _ in program.unfollowed] == [(6, "argument")]
