"""Triton kernels, where Triton is installed."""

from typing import Any

import pytest
import torch

from fakerun.rank.simulation import Simulation

triton: Any = pytest.importorskip("triton")


def doubling() -> Any:
    @triton.jit  # type: ignore[untyped-decorator]
    def double(source, target, count, BLOCK: triton.language.constexpr):  # type: ignore[no-untyped-def]  # noqa: N803
        pass

    return double


def noted(simulation: Simulation) -> list[str]:
    return [finding.message for finding in simulation.record(None).findings if finding.code == "not-emulated"]


@pytest.mark.parametrize("tuned", [False, True])
def test_a_kernel_launch_is_noted_and_its_results_are_unknown(tuned: bool, simulation: Simulation) -> None:
    kernel = doubling()
    options: dict[str, int] = {"BLOCK": 64}
    if tuned:
        kernel, options = triton.autotune(configs=[triton.Config({"BLOCK": 64})], key=["count"])(kernel), {}
    source, target = torch.ones(100, device="cuda"), torch.zeros(100, device="cuda")
    kernel[lambda meta: (triton.cdiv(100, meta["BLOCK"]),)](source, target, 100, **options)
    assert [message.partition(" is not emulated")[0] for message in noted(simulation)] == ["What the Triton kernel double computes"]
    values = [target.sum().item()]  # not in an assertion: a check of an unknown value passes
    assert values == [1.0]
    assert "unknown-value" in {finding.code for finding in simulation.record(None).findings}


def test_a_host_tensor_is_refused(simulation: Simulation) -> None:
    with pytest.raises(ValueError, match=r"Pointer argument \(at 1\) cannot be accessed from Triton \(cpu tensor\?\)"):
        doubling()[(1,)](torch.ones(4, device="cuda"), torch.ones(4), 4, BLOCK=4)


def test_the_driver_names_the_device(simulation: Simulation) -> None:
    driver = triton.runtime.driver.active
    assert driver.get_current_target().arch == 90
    assert driver.get_active_torch_device() == torch.device("cuda", 0)
    assert driver.utils.get_device_properties(0)["multiprocessor_count"] == 132
