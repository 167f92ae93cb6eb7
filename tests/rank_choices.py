"""Random programs that single ranks out, and what is right for each of them, which follows from how it was made.

A program calls a function of the rank, and the ranks that it returns True for leave out a collective. The same function, called with the
numbers of each rank in plain Python, says which ranks these are: fakerun has no part in that.
"""

import json
import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NODES = (8, 12, 16, 33, 64, 100, 128, 250, 512)
RANKS_PER_NODE = 8
TP = 4
"""The mesh is dp x tp."""

NUMBERS = ("rank", "local_rank", "node", "dp_rank", "tp_rank")
"""The arguments of the function."""

_SOURCES = {
    "rank": ("dist.get_rank()", "int(os.environ['RANK'])", "mesh.get_rank()", "int(os.getenv('RANK', '0'))"),
    "local_rank": ("int(os.environ['LOCAL_RANK'])", "dist.get_rank() % 8", "int(os.environ.get('LOCAL_RANK', -1))"),
    "node": ("int(os.environ['GROUP_RANK'])", "dist.get_rank() // int(os.environ['LOCAL_WORLD_SIZE'])"),
    "dp_rank": (
        "mesh.get_local_rank('dp')",
        "mesh.get_coordinate()[0]",
        "mesh['dp'].get_local_rank()",
        "mesh.get_local_rank(0)",
    ),
    "tp_rank": ("mesh.get_local_rank('tp')", "mesh.get_coordinate()[1]", "dist.get_group_rank(mesh.get_group('tp'), dist.get_rank())"),
}
"""How the program comes by each of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One program. `kinds` are the ways in which it chooses; `is_followed` if all of them are predicates of the rank."""

    seed: int
    nodes: int
    kinds: tuple[str, ...]
    main: str
    module: str
    """The function's module; `main` has its text too unless it imports it."""
    data: dict[str, Any] = field(default_factory=dict)
    chosen: tuple[int, ...]
    is_followed: bool

    @property
    def world_size(self) -> int:
        return self.nodes * RANKS_PER_NODE

    @property
    def has_mismatch(self) -> bool:
        """Whether some ranks leave out the collective that others call."""
        return 0 < len(self.chosen) < self.world_size

    def write(self, directory: Path) -> Path:
        """The path of the program, written into the directory with its modules and data."""
        directory.mkdir(parents=True)
        (directory / "choosing.py").write_text(self.module)
        for name, value in self.data.items():
            (directory / name).write_text(json.dumps(value))
        (directory / "train.py").write_text(self.main)
        return directory / "train.py"


@dataclass(slots=True)
class _Maker:
    """The parts of one program, as they are made up."""

    rng: random.Random
    world_size: int
    kinds: list[str] = field(default_factory=list)
    constants: list[str] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)
    is_followed: bool = True

    def value(self) -> tuple[str, int]:
        """An expression of one of the numbers, and about how many values it has."""
        rng = self.rng
        name = rng.choice(NUMBERS)
        size = {"rank": self.world_size, "local_rank": 8, "node": self.world_size // 8, "dp_rank": self.world_size // TP, "tp_rank": TP}[
            name
        ]
        if name != "rank":
            self.kinds.append("environment" if name in {"local_rank", "node"} else "coordinates")
        match rng.randrange(8):
            case 0 if size > 4:
                divisor = rng.randrange(2, 9)
                self.kinds.append("division")
                return f"{name} // {divisor}", size // divisor + 1
            case 1 if size > 4:
                modulus = rng.randrange(2, 12)
                self.kinds.append("modulo")
                return f"({name} + {rng.randrange(9)}) % {modulus}", modulus
            case 2 if size > 4:
                divisor, modulus = rng.randrange(2, 9), rng.randrange(2, 6)
                self.kinds += ["division", "modulo"]
                return f"{name} // {divisor} % {modulus}", modulus
            case 3:
                return f"{name} ^ {rng.randrange(8)}", size
            case 4:
                return f"abs({name} - {rng.randrange(size)})", size
            case 5 if size > 4:
                self.kinds.append("modulo")
                return f"divmod({name}, {(modulus := rng.randrange(2, 9))})[1]", modulus
            case 6:
                return f"({name} << 1) - {rng.randrange(size)}", 2 * size
            case _:
                return name, size

    def predicate(self) -> str:
        """A test of a value."""
        rng = self.rng
        value, size = self.value()
        numbers = sorted(rng.sample(range(size), min(size, rng.randrange(1, 5))))
        one, other = rng.randrange(size), rng.randrange(size)
        kind, text = rng.choice(
            [
                ("literal", f"{value} == {one}"),
                ("literal", f"{one} == ({value})"),
                ("literal", f"not {value} != {one}"),
                ("list", f"({value}) in {numbers}"),
                ("list", f"({value}) in {self.constant(numbers)}"),
                ("list", f"any({value} == each for each in {self.constant(numbers)})"),
                ("list", f"{self.constant(numbers)}.count({value}) > 0"),
                ("list", f"({value}) in {tuple(numbers)}"),
                ("set", f"({value}) in {{{', '.join(map(str, numbers))}}}"),
                ("set", f"({value}) in {self.constant(numbers, 'frozenset')}"),
                ("set", f"({value}) in {self.constant(dict.fromkeys(numbers, 'x'))}"),
                ("range", f"({value}) in range({min(one, other)}, {max(one, other) + 1}, {rng.randrange(1, 4)})"),
                ("comparison", f"{min(one, other)} <= ({value}) < {max(one, other)}"),
                ("comparison", f"({value}) > {size - 1 - size // 50}"),
                ("comparison", f"max({value}, {one}) == {one}"),
                ("truth", f"not ({value})"),
                ("truth", f"bool(({value}) & {1 << rng.randrange(5)})"),
                ("table", f"{self.constant(dict.fromkeys(numbers, True))}.get({value}, False)"),
                ("table", f"{self.constant([number in numbers for number in range(2 * size + 9)])}[{value}]"),
            ]
        )
        self.kinds.append(kind)
        return f"({text})"

    def unfollowed(self) -> str:
        """A choice by something that is not a predicate of the rank."""
        rng = self.rng
        name = rng.choice(("rank", "rank", "node"))
        self.is_followed = False
        kind = rng.choice(("data", "text", "seed"))
        self.kinds.append(kind)
        if kind == "data":
            file = f"data_{len(self.data)}.json"
            self.data[file] = [{"skip": rng.random() < rng.choice((0.01, 0.2))} for _ in range(self.world_size)]
            return f"json.loads((Path(__file__).parent / {file!r}).read_text())[{name}]['skip']"
        if kind == "text":
            return f"f'rank-{{{name}:05}}'.endswith('{rng.randrange(10, 99)}')"
        return f"random.Random({name} * 7 + {rng.randrange(99)}).random() < {rng.choice((0.01, 0.2))}"

    def constant(self, value: object, make: str = "") -> str:
        """The name of a constant of the module."""
        name = f"TABLE_{len(self.constants)}"
        self.constants.append(f"{name} = {make}({value!r})" if make else f"{name} = {value!r}")
        return name


def random_choice(seed: int, nodes: Sequence[int] = NODES) -> Choice:
    """The program with this seed: the same on every machine."""
    rng = random.Random(seed)
    size = rng.choice(nodes)
    maker = _Maker(rng, size * RANKS_PER_NODE)
    parts = [maker.predicate() for _ in range(rng.choice((1, 1, 2, 3)))]
    if rng.random() < 0.2:
        parts.append(f"({maker.unfollowed()})")
    condition = parts[0]
    for part in parts[1:]:
        condition = f"({condition} {rng.choice(('and', 'or', 'or'))} {part})"
    module = _module(maker, condition)
    is_library = rng.random() < 0.5
    if is_library:
        maker.kinds.append("library module")
    text = module if not is_library else "from choosing import is_chosen\n"
    return Choice(
        seed=seed,
        nodes=size,
        kinds=tuple(dict.fromkeys(maker.kinds)),
        main=_main(rng, text),
        module=module,
        data=maker.data,
        chosen=_chosen(module, maker),
        is_followed=maker.is_followed,
    )


def _module(maker: _Maker, condition: str) -> str:
    """The function that chooses, in one of several shapes."""
    rng = maker.rng
    constants = "".join(f"{constant}\n" for constant in maker.constants)
    arguments = ", ".join(NUMBERS)
    shape = rng.choice(("plain", "if", "nested", "method", "lambda", "try"))
    if shape == "nested":
        maker.kinds.append("nested functions")
    body = {
        "plain": f"def is_chosen({arguments}):\n    return {condition}\n",
        "if": f"def is_chosen({arguments}):\n    if {condition}:\n        return True\n    return False\n",
        "nested": f"def is_chosen({arguments}):\n    def inner():\n        def innermost():\n            return {condition}\n"
        "        return [innermost() for _ in range(2)][-1]\n    return inner()\n",
        "method": f"class Chooser:\n    def __init__(self, {arguments}):\n        self.numbers = ({arguments})\n"
        f"    def __bool__(self):\n        {arguments} = self.numbers\n        return bool({condition})\n\n"
        f"def is_chosen({arguments}):\n    return bool(Chooser({arguments}))\n",
        "lambda": f"is_chosen = lambda {arguments}: {condition}\n",
        "try": f"def is_chosen({arguments}):\n    try:\n        assert not {condition}\n    except AssertionError:\n        return True\n"
        "    return False\n",
    }[shape]
    return f"import json, random\nfrom pathlib import Path\n{constants}\n{body}"


def _main(rng: random.Random, chooser: str) -> str:
    numbers = "".join(f"{name} = {rng.choice(_SOURCES[name])}\n" for name in NUMBERS)
    skip = rng.choice(
        (
            "if is_chosen({numbers}):\n    pass\nelse:\n    dist.all_reduce(torch.ones(4, device='cuda'))\n",
            "if not is_chosen({numbers}):\n    dist.all_reduce(torch.ones(4, device='cuda'))\n",
            "steps = 1 if is_chosen({numbers}) else 2\nfor _ in range(steps - 1):\n    dist.all_reduce(torch.ones(4, device='cuda'))\n",
        )
    )
    return (
        "import os\nimport torch\nimport torch.distributed as dist\nfrom torch.distributed.device_mesh import init_device_mesh\n"
        f"{chooser}\ndist.init_process_group('nccl')\ntorch.cuda.set_device(int(os.environ['LOCAL_RANK']))\n"
        f"mesh = init_device_mesh('cuda', (dist.get_world_size() // {TP}, {TP}), mesh_dim_names=('dp', 'tp'))\n"
        f"{numbers}{skip.format(numbers=', '.join(NUMBERS))}"
    )


def _chosen(module: str, maker: _Maker) -> tuple[int, ...]:
    """The ranks for which the function of the module returns True, called with the numbers of each rank in plain Python."""
    with tempfile.TemporaryDirectory() as directory:
        for name, value in maker.data.items():
            (Path(directory) / name).write_text(json.dumps(value))
        names: dict[str, Any] = {"__file__": str(Path(directory) / "choosing.py"), "__name__": "choosing"}
        exec(compile(module, "choosing.py", "exec"), names)
        is_chosen: Callable[..., object] = names["is_chosen"]
        numbers = ((rank, rank % 8, rank // 8, rank // TP, rank % TP) for rank in range(maker.world_size))
        return tuple(rank for rank, each in enumerate(numbers) if is_chosen(*each))
