"""Costs of operations beside what was measured (`fakerun/hardware/measured`), and rules that hold for every card."""

import statistics
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

import pytest

from fakerun.analysis.time.costs import Basis, OperationKind
from fakerun.analysis.time.operations import OperationCosts
from fakerun.analysis.time.operations.rates import rates_of
from fakerun.errors import UsageError
from fakerun.hardware.catalogue import hardware_named, known_hardware
from fakerun.hardware.measured import measured_accelerators, measured_operations
from fakerun.hardware.request import parse_hardware
from fakerun.records.device_program import Operation
from tests.oracles.operation_times import operation, operations_of, tensor

MM = Operation("aten.mm.default", "bfloat16[8192,4096], bfloat16[4096,14336]{1,4096}", "bfloat16[8192,14336]")

BOUNDS = {
    # kind of measurement: median of |error|, share within 15 %
    "mm": (0.06, 0.85),
    "addmm": (0.07, 1.0),
    "bmm": (0.11, 0.8),
    "scaled_mm": (0.1, 0.65),
    "grouped_mm": (0.14, 0.6),
    "attention": (0.03, 0.93),
    "memory_bound": (0.05, 0.85),
    "rows": (0.09, 0.7),
    "layout": (0.06, 0.8),
    "index": (0.07, 0.9),
    "tensor_list": (0.06, 0.9),
    "optimizer": (0.13, 0.65),
}


def ratios(card: str) -> Iterator[tuple[str, float]]:
    """Cost over measured time, with the kind of measurement."""
    costs = OperationCosts(hardware_named(card), computing_share=0.0)  # they were short
    for entry in measured_operations(card)["entries"]:
        found = [costs.of(each) for each in operations_of(entry)]
        if found:
            yield entry["kind"], sum(cost.seconds for cost in found if cost is not None) / entry["us_median"] * 1e6


@pytest.mark.parametrize("card", measured_accelerators())
def test_costs_beside_what_was_measured(card: str) -> None:
    errors = defaultdict(list)
    for kind, ratio in ratios(card):
        errors[kind].append(abs(ratio - 1))
    assert set(errors) == set(BOUNDS)
    worse = {
        kind: (round(statistics.median(found), 3), round(sum(error <= 0.15 for error in found) / len(found), 2))
        for kind, found in errors.items()
        if statistics.median(found) > BOUNDS[kind][0] or sum(error <= 0.15 for error in found) < BOUNDS[kind][1] * len(found)
    }
    assert not worse


@pytest.mark.parametrize("card", [name for name, entry in known_hardware().items() if entry.accelerator.memory_bytes_per_s])
def test_a_cost_takes_no_less_than_computing_and_moving_at_the_peak(card: str) -> None:
    hardware = hardware_named(card)
    cost = OperationCosts(hardware).of(MM)
    assert cost is not None
    assert cost.kind is OperationKind.MATRIX_PRODUCT
    assert cost.flops == 2 * 8192 * 4096 * 14336
    assert cost.moved_bytes == 2 * (8192 * 4096 + 4096 * 14336 + 8192 * 14336)
    peak = hardware.bfloat16_flops or hardware.float32_flops
    assert hardware.memory_bytes_per_s is not None
    assert cost.seconds >= cost.moved_bytes / hardware.memory_bytes_per_s
    assert peak is None or cost.seconds >= cost.flops / peak


@pytest.mark.parametrize("card", list(known_hardware()))
def test_float32_numbers_are_multiplied_no_faster_than_in_float32(card: str) -> None:
    """H20, B300 and A10G have no published float32 rate in the catalogue."""
    hardware = hardware_named(card)
    costs = OperationCosts(hardware)
    cost = costs.of(Operation("aten.mm.default", "float32[8192,8192], float32[8192,8192]", "float32[8192,8192]"))
    assert cost is not None
    a_cycle = 256 * hardware.multiprocessors * 2.5e9  # no card has a higher clock
    assert cost.flops / a_cycle < cost.seconds < 1.0


@pytest.mark.parametrize("card", ["t4", "a100-80gb", "h100-80gb"])
def test_attention_of_float32_takes_several_tf32_products(card: str) -> None:
    hardware = hardware_named(card)
    costs = OperationCosts(hardware)
    found = []
    for dtype in ("float16", "float32"):
        heads = f"{dtype}[8,16,4096,64]"
        name = "aten._scaled_dot_product_efficient_attention.default"
        cost = costs.of(Operation(name, f"{heads}, {heads}, {heads}, None, True, 0.0, True"))
        assert cost is not None
        found.append(cost)
    of_16_bits, of_32_bits = found
    rate = max((hardware.tf32_flops or 0.0) / 3, hardware.float32_flops or 0.0)
    assert of_32_bits.seconds >= max(of_32_bits.flops / rate, of_16_bits.seconds)


@pytest.mark.parametrize(
    "free",
    [
        Operation("aten.view.default", "bfloat16[8,8], [64]", "bfloat16[64]"),
        Operation("aten.empty.memory_format", "[64]", "bfloat16[64]"),
        Operation("aten._local_scalar_dense.default", "float32[]"),
        Operation("_c10d_functional.all_reduce.default", "bfloat16[64]", "bfloat16[64]"),
        Operation("aten.mul.Tensor", "bfloat16[0,8], bfloat16[0,8]", "bfloat16[0,8]"),
    ],
)
def test_what_executes_no_kernel_costs_nothing(free: Operation) -> None:
    assert OperationCosts(hardware_named("h100-80gb")).of(free) is None


def seconds(made: Operation, hardware: str = "h100-80gb") -> float:
    cost = OperationCosts(parse_hardware(hardware)).of(made)
    assert cost is not None
    return cost.seconds


def test_an_element_of_stride_zero_is_read_once() -> None:
    wide = tensor("float32", 8192, 8192)
    expanded = tensor("float32", 8192, 8192, strides=(0, 1))
    costs = OperationCosts(hardware_named("h100-80gb"))
    cost = costs.of(operation("mul.Tensor", wide, expanded, results=[wide]))
    assert cost is not None
    assert cost.moved_bytes == 4 * (2 * 8192 * 8192 + 8192)


def test_in_place_writes_count_and_a_copy_does_not_read_what_it_overwrites() -> None:
    costs = OperationCosts(hardware_named("h100-80gb"))
    flat = tensor("float32", 1 << 20)
    moved = [costs.of(each) for each in (operation("add_.Tensor", flat, flat), operation("copy_.default", flat, flat))]
    assert [cost and cost.moved_bytes for cost in moved] == [3 << 22, 2 << 22]


def test_a_sum_that_a_product_adds_to_is_moved_and_is_no_factor() -> None:
    total = "float32[14336,4096]"
    arguments = f"{total}, bfloat16[14336,8192]{{1,14336}}, bfloat16[8192,4096], torch.float32, out={total}"
    cost = OperationCosts(hardware_named("h100-80gb")).of(Operation("aten.addmm.dtype_out", arguments))
    assert cost is not None
    assert cost.flops == 2 * 8192 * 4096 * 14336
    assert cost.moved_bytes == 2 * 8192 * (4096 + 14336) + 2 * 4 * 4096 * 14336


def test_a_causal_mask_halves_executed_operations_only() -> None:
    query = tensor("bfloat16", 1, 32, 8192, 128)
    costs = OperationCosts(hardware_named("h100-80gb"))
    causal, full = (
        costs.of(operation("_scaled_dot_product_flash_attention.default", query, query, query, flag)) for flag in ("True", "False")
    )
    assert causal is not None
    assert full is not None
    assert (causal.flops, causal.full_flops) == (full.flops // 2, full.full_flops)
    assert full.flops == full.full_flops == 4 * 8192**2 * 128 * 32
    assert causal.seconds < 0.6 * full.seconds


def test_sequences_one_after_the_other_cost_what_they_cost_as_a_batch() -> None:
    batch, packed = tensor("bfloat16", 4, 2048, 32, 128), tensor("bfloat16", 8192, 32, 128)
    bounds = tensor("int32", 5)
    as_batch = Operation("flash_attn._flash_attn_forward.default", f"{batch}, {batch}, {batch}, True", batch)
    in_turn = Operation(
        "flash_attn._flash_attn_varlen_forward.default", f"{packed}, {packed}, {packed}, {bounds}, {bounds}, 2048, 2048, True", packed
    )
    assert seconds(as_batch) == pytest.approx(seconds(in_turn))


def test_flex_attention_computes_what_its_mask_leaves() -> None:
    query, sums = tensor("bfloat16", 1, 32, 8192, 128), tensor("float32", 1, 32, 8192)
    costs = OperationCosts(hardware_named("h100-80gb"))
    half, full = (
        costs.of(Operation("higher_order.flex_attention.default", f"{query}, {query}, {query}, density={density}", f"{query}, {sums}"))
        for density in ("0.508", "1.000")
    )
    flash = costs.of(operation("_scaled_dot_product_flash_attention.default", query, query, query, "True", results=[query]))
    backward = costs.of(
        Operation("higher_order.flex_attention_backward.default", ", ".join([*[query] * 5, sums, "density=0.508"]), ", ".join([query] * 3))
    )
    assert half is not None
    assert full is not None
    assert flash is not None
    assert backward is not None
    assert (half.flops, full.flops) == (round(0.508 * full.flops), 4 * 8192**2 * 128 * 32)
    assert 1.05 < half.seconds / flash.seconds < 1.2
    assert 2.5 < backward.seconds / half.seconds < 3.2


def test_each_cost_says_what_it_is_taken_from() -> None:
    deep = operation("mm.default", tensor("bfloat16", 8192, 5000), tensor("bfloat16", 5000, 5000, strides=(1, 5000)))
    on_the_grid = operation("mm.default", tensor("bfloat16", 8192, 4096), tensor("bfloat16", 4096, 4096, strides=(1, 4096)))
    tall = operation("mm.default", tensor("bfloat16", 1 << 20, 4096), tensor("bfloat16", 4096, 4096, strides=(1, 4096)))
    bases = {
        card: [cost and cost.basis for cost in map(OperationCosts(parse_hardware(card)).of, (on_the_grid, deep, tall))]
        for card in ("h200", "h100-96gb", "l4", "h200,power_limit=500W")
    }
    assert bases["h200"] == [Basis.MEASURED, Basis.INTERPOLATED, Basis.EXTRAPOLATED]
    assert bases["h100-96gb"] == bases["h200,power_limit=500W"] == [Basis.EXTRAPOLATED] * 3
    assert bases["l4"] == [Basis.ROOFLINE] * 3


def test_a_board_of_less_power_multiplies_more_slowly() -> None:
    def at_the_highest_clock(hardware: str) -> float:
        cost = OperationCosts(parse_hardware(hardware), computing_share=0.0).of(MM)
        assert cost is not None
        return cost.seconds

    full = at_the_highest_clock("h100-80gb")
    assert at_the_highest_clock("h100-96gb") == pytest.approx(full * 0.75 / 0.6, rel=1e-2)
    assert at_the_highest_clock("h100-80gb,power_limit=500W") == pytest.approx(full / (395 / 595) ** (1 / 3), rel=1e-2)


def test_the_more_of_a_step_computes_the_lower_is_the_clock() -> None:
    hardware = hardware_named("h100-80gb")
    flat = tensor("float32", 1 << 30)
    move = operation("add.Tensor", flat, flat, results=[flat])
    steps = ({MM: 1, move: 10}, {MM: 100, move: 1})
    costs = [OperationCosts.in_step(hardware, step) for step in steps]
    (mostly_moving, moved), (mostly_computing, moved_too) = ((each.of(MM), each.of(move)) for each in costs)
    assert mostly_moving is not None
    assert mostly_computing is not None
    assert moved == moved_too
    assert mostly_computing.seconds / mostly_moving.seconds == pytest.approx(0.75 / 0.676, rel=1e-3)


def test_attention_slows_down_less_where_that_was_measured() -> None:
    query = tensor("bfloat16", 1, 32, 8192, 128)
    attention = operation("_scaled_dot_product_cudnn_attention.default", query, query, query)

    def slowdown(card: str, made: Operation) -> float:
        short, sustained = (OperationCosts(hardware_named(card), share).of(made) for share in (0.0, 1.0))
        assert short is not None
        assert sustained is not None
        return sustained.seconds / short.seconds

    assert slowdown("b200", attention) == pytest.approx(1 / 0.94, rel=1e-3)
    assert slowdown("b200", MM) == pytest.approx(0.66 / 0.485, rel=1e-3)
    assert slowdown("h200", attention) == pytest.approx(slowdown("h200", MM), rel=1e-3)


def test_rows_that_do_not_begin_at_16_bytes_are_slow() -> None:
    """50,257 columns: 96 TFLOPS were measured, against 600 of 50,304."""
    odd, even = (
        operation("mm.default", tensor("bfloat16", 8192, 768), tensor("bfloat16", 768, columns, strides=(1, 768)))
        for columns in (50257, 50304)
    )
    assert 4 < seconds(odd) / seconds(even) < 8


def test_types_of_more_bits_take_longer() -> None:
    def of(dtype: str) -> float:
        left, right = tensor(dtype, 8192, 8192), tensor(dtype, 8192, 8192, strides=(1, 8192))
        name = "_scaled_mm.default" if dtype.startswith("float8") else "mm.default"
        return seconds(operation(name, left, right, tensor("float32"), tensor("float32")))

    assert of("float8_e4m3fn") < of("bfloat16") < of("float32") == pytest.approx(of("float64"), rel=0.01)


@pytest.mark.parametrize(
    ("hardware", "tflops"), [("v100-32gb", 7.8), ("t4", 0.25), ("a100-80gb", 19.5), ("l4", 0.47), ("rtx4090", 1.29), ("h100-80gb", 67.0)]
)
def test_float64_has_the_rates_of_datasheets(hardware: str, tflops: float) -> None:
    assert rates_of(hardware_named(hardware)).peak_flops("float64") == pytest.approx(tflops * 1e12, rel=0.06)


def test_float32_products_are_faster_where_the_script_asked_for_tf32() -> None:
    left, right = tensor("float32", 8192, 8192), tensor("float32", 8192, 8192)
    plain, tf32 = operation("mm.default", left, right), operation("mm.default", left, right, "tf32=True")
    rates = hardware_named("a100-80gb")
    assert rates.tf32_flops
    assert rates.float32_flops
    assert seconds(plain, "a100-80gb") / seconds(tf32, "a100-80gb") == pytest.approx(rates.tf32_flops / rates.float32_flops, rel=0.01)
    assert seconds(plain, "t4") == seconds(tf32, "t4")


@pytest.mark.parametrize(
    ("name", "is_least"),
    [
        ("_int_mm.default", True),
        ("linalg_cholesky_ex.default", True),
        ("linalg_vector_norm.default", False),
        ("add.Tensor", False),
        ("mm.default", False),
        ("sort.stable", False),
    ],
)
def test_a_cost_says_whether_only_bytes_are_known(name: str, is_least: bool) -> None:
    cost = OperationCosts(hardware_named("h100-80gb")).of(operation(name, tensor("float32", 512, 512), tensor("float32", 512, 512)))
    assert cost is not None
    assert cost.is_least == is_least


def test_operators_of_libraries_and_kernels_of_triton_are_known_by_their_bytes() -> None:
    for name in ("triton.rotate.default", "my_library.scan.default"):
        cost = OperationCosts(hardware_named("h100-80gb")).of(Operation(name, "float32[512,512]", "float32[512,512]"))
        assert cost is not None
        assert cost.is_least


def test_a_card_of_unknown_bandwidth_is_refused_with_the_way_out() -> None:
    with pytest.raises(UsageError, match="memory_bandwidth=2TB/s"):
        OperationCosts(replace(hardware_named("h100-80gb"), memory_bytes_per_s=None))


def test_a_product_says_whether_its_bytes_take_longer_than_its_multiplications() -> None:
    def moves_longer(rows: int, hardware: str = "h100-80gb") -> bool:
        product = operation("mm.default", tensor("bfloat16", rows, 8192), tensor("bfloat16", 8192, 8192))
        cost = OperationCosts(hardware_named(hardware)).of(product)
        assert cost is not None
        return cost.moves_longer

    assert moves_longer(8)
    assert not moves_longer(8192)
