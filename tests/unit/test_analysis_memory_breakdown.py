"""Bytes by category, module and tensor."""

import pytest

from fakerun.analysis.memory.breakdown import ModuleShare, TensorGroup, by_category, by_module, by_tensor, module_pattern, rolled_up
from fakerun.records.memory import Category
from tests.unit.records_by_hand import block, site


def test_categories_are_all_there_in_order_even_when_empty() -> None:
    totals = by_category([block(512, Category.GRADIENT), block(1024, Category.GRADIENT), block(512, Category.INPUT)])
    assert list(totals) == list(Category)
    assert totals[Category.GRADIENT] == 1536
    assert totals[Category.INPUT] == 512
    assert sum(totals.values()) == 2048


@pytest.mark.parametrize(
    ("module", "depth", "expected"),
    [
        (None, 0, None),
        ("", 0, ""),
        ("output", 0, "output"),
        ("layers.3.attention.wq", 0, "layers.3"),
        ("layers.3.attention.wq", 1, "layers.3.attention"),
        ("layers.3", 1, "layers.3"),
        ("module.layers.3.attention.wq", 0, "module.layers.3"),
        ("module.tok_embeddings", 0, "module.tok_embeddings"),
        ("encoder.stem.conv.weight", 0, "encoder.stem"),
        ("encoder.stem.conv.weight", 1, "encoder.stem.conv"),
        ("layer1.0.conv1", 0, "layer1.0"),
        ("0.linear", 0, "0"),
    ],
)
def test_modules_roll_up_to_their_layer(module: str | None, depth: int, expected: str | None) -> None:
    assert rolled_up(module, depth=depth) == expected


def test_pattern_replaces_every_index() -> None:
    assert module_pattern("layers.3.experts.17.w1") == "layers.*.experts.*.w1"


def test_repeated_layers_are_one_row() -> None:
    blocks = [
        block(1024, Category.PARAMETER, module="layers.0.attention"),
        block(512, Category.ACTIVATION, module="layers.0.feed_forward"),
        block(1024, Category.PARAMETER, module="layers.1.attention"),
        block(512, Category.PARAMETER, module="output"),
        block(4096, Category.OPTIMIZER_STATE),
    ]
    assert by_module(blocks) == (
        ModuleShare(module=None, instances=1, nbytes=4096, largest_category=Category.OPTIMIZER_STATE),
        ModuleShare(module="layers.*", instances=2, nbytes=2560, largest_category=Category.PARAMETER),
        ModuleShare(module="output", instances=1, nbytes=512, largest_category=Category.PARAMETER),
    )


def test_like_tensors_of_repeated_layers_are_one_group() -> None:
    equal = [block(1024, Category.PARAMETER, module=f"layers.{layer}.wq", shape=(16, 16)) for layer in range(3)]
    other_dtype = block(1024, Category.PARAMETER, module="layers.0.wq", shape=(16, 16), dtype="int32")
    large = block(8192, Category.ACTIVATION, module="layers.0")
    groups = by_tensor([*equal, other_dtype, large])
    assert [(group.dtype, group.count, group.nbytes) for group in groups] == [
        ("float32", 1, 8192),
        ("float32", 3, 3072),
        ("int32", 1, 1024),
    ]
    assert groups[1] == TensorGroup(
        category=Category.PARAMETER,
        module="layers.*.wq",
        shape=(16, 16),
        dtype="float32",
        call_site=site("train.py:1"),
        count=3,
        nbytes=3072,
    )


def test_order_of_equals_does_not_depend_on_the_order_of_blocks() -> None:
    blocks = [block(512, module=name) for name in ("b", "a", "c")]
    assert by_module(blocks) == by_module(reversed(blocks))
    assert by_tensor(blocks) == by_tensor(reversed(blocks))
