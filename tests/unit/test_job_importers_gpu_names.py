"""GPUs as other tools call them."""

from collections.abc import Callable

import pytest

from fakerun.hardware.catalogue import accelerator_names
from fakerun.job.importers import gpu_names
from fakerun.job.importers.gpu_names import candidate_gpus, cluster_gpu, instance_gpu, labelled_gpu, skypilot_gpu


@pytest.mark.parametrize(
    ("find", "name", "expected"),
    [
        (skypilot_gpu, "H100", "h100-80gb"),
        (skypilot_gpu, "A100", "a100-40gb"),
        (skypilot_gpu, "A100-80GB", "a100-80gb"),
        (skypilot_gpu, "V100", None),
        (skypilot_gpu, "tpu-v5e-8", None),
        (labelled_gpu, "NVIDIA-H100-80GB-HBM3", "h100-80gb"),
        (labelled_gpu, "NVIDIA-A100-SXM4-40GB", "a100-40gb"),
        (labelled_gpu, "Tesla-T4", "t4"),
        (labelled_gpu, "nvidia-h100-80gb", "h100-80gb"),
        (labelled_gpu, "p4d.24xlarge", "a100-40gb"),
        (labelled_gpu, "Standard_ND96isr_H100_v5", "h100-80gb"),
        (labelled_gpu, "m5.large", None),
        (instance_gpu, "aws_p4d.24xlarge", "a100-40gb"),
        (instance_gpu, "p5.48xlarge", "h100-80gb"),
        (instance_gpu, "p5en.48xlarge", "h200"),
        (instance_gpu, "a3-ultragpu-8g", "h200"),
        (cluster_gpu, "h200", "h200"),
        (cluster_gpu, "a100_80gb", "a100-80gb"),
        (cluster_gpu, "NVIDIA_L40S", "l40s"),
        (cluster_gpu, "l4", "l4"),
        (cluster_gpu, "a100", None),
        (cluster_gpu, "h100", None),
        (cluster_gpu, "v100", None),
        (cluster_gpu, "a10", None),
        (cluster_gpu, "a100_3g.20gb", None),
        (cluster_gpu, "", None),
    ],
)
def test_a_name(find: Callable[[str], str | None], name: str, expected: str | None) -> None:
    assert find(name) == expected


def test_every_name_in_the_tables_is_known() -> None:
    named = {*gpu_names._SKYPILOT.values(), *gpu_names._GKE.values(), *(gpu for _, gpu in gpu_names._INSTANCE_TYPES)}
    assert named <= set(accelerator_names())


@pytest.mark.parametrize("name", accelerator_names())
def test_an_accelerator_is_known_by_its_own_name(name: str) -> None:
    assert cluster_gpu(name) == name


def test_all_that_may_be_meant() -> None:
    assert candidate_gpus("H100") == ("h100-80gb", "h100-pcie", "h100-96gb")
    assert candidate_gpus("p100") == ()
