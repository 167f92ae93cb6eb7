"""GPUs as schedulers, clouds and Kubernetes call them -> fakerun's names, where a name means one of them.

Sources: SkyPilot's catalogue (`sky show-gpus`); NVIDIA's GPU operator, label `nvidia.com/gpu.product`, which is the driver's name with
dashes; GKE's label `cloud.google.com/gke-accelerator`; instance types of AWS, Google Cloud and Azure by their documentation.
"""

import re
from collections.abc import Iterable

from fakerun.hardware.catalogue import DEFAULT_HARDWARE, known_hardware

_SKYPILOT = {
    "a100": "a100-40gb",
    "a100-80gb": "a100-80gb",
    "a100-80gb-sxm": "a100-80gb",
    "a10g": "a10g",
    "b200": "b200",
    "b300": "b300",
    "gb200": "gb200",
    "gb300": "gb300",
    "h100": "h100-80gb",
    "h100-sxm": "h100-80gb",
    "h100-pcie": "h100-pcie",
    "h200": "h200",
    "h200-sxm": "h200",
    "h20": "h20",
    "l4": "l4",
    "l40s": "l40s",
    "mi300x": "mi300x",
    "mi325x": "mi325x",
    "mi355x": "mi355x",
    "rtx4090": "rtx4090",
    "rtxa6000": "a6000",
    "t4": "t4",
    "v100-32gb": "v100-32gb",
}
"""In SkyPilot `A100` is the one of 40 GB and `H100` the SXM one."""

_GKE = {
    "nvidia-tesla-t4": "t4",
    "nvidia-l4": "l4",
    "nvidia-tesla-a100": "a100-40gb",
    "nvidia-a100-80gb": "a100-80gb",
    "nvidia-h100-80gb": "h100-80gb",
    "nvidia-h100-mega-80gb": "h100-80gb",
    "nvidia-h200-141gb": "h200",
    "nvidia-b200": "b200",
    "nvidia-gb200": "gb200",
}

_INSTANCE_TYPES = (
    (r"p4d\.24xlarge", "a100-40gb"),
    (r"p4de\.24xlarge", "a100-80gb"),
    (r"p5\.\w+", "h100-80gb"),
    (r"p5en?\.\w+", "h200"),
    (r"p6-b200\.\w+", "b200"),
    (r"p6-b300\.\w+", "b300"),
    (r"g4dn\.\w+", "t4"),
    (r"g5\.\w+", "a10g"),
    (r"g6\.\w+", "l4"),
    (r"g6e\.\w+", "l40s"),
    (r"a2-highgpu-\w+", "a100-40gb"),
    (r"a2-megagpu-\w+", "a100-40gb"),
    (r"a2-ultragpu-\w+", "a100-80gb"),
    (r"a3-(high|mega|edge)gpu-\w+", "h100-80gb"),
    (r"a3-ultragpu-\w+", "h200"),
    (r"a4-highgpu-\w+", "b200"),
    (r"g2-standard-\w+", "l4"),
    (r"standard_nd96a?m?srs?_a100_v4", "a100-80gb"),
    (r"standard_nd96asrs?_v4", "a100-40gb"),
    (r"standard_nd96isrs?f?_h100_v5", "h100-80gb"),
    (r"standard_nd96isrs?f?_h200_v5", "h200"),
)


def skypilot_gpu(name: str) -> str | None:
    """`H100`, `A100-80GB`."""
    return _SKYPILOT.get(name.lower())


def labelled_gpu(label: str) -> str | None:
    """The value of a node's label: a product, an accelerator or an instance type."""
    text = label.strip().lower()
    products = {_label(entry.accelerator.device_name): name for name, entry in known_hardware().items()}
    return products.get(text) or _GKE.get(text) or instance_gpu(text)


def instance_gpu(name: str) -> str | None:
    """`p5.48xlarge`; also with the prefix that TorchX gives it, `aws_`."""
    text = name.lower().removeprefix("aws_")
    return next((gpu for pattern, gpu in _INSTANCE_TYPES if re.fullmatch(pattern, text)), None)


def cluster_gpu(name: str) -> str | None:
    """What a cluster calls a GPU, as in `--gres=gpu:h200:8`: a model of one variant, or a model with its variant (`a100_80gb`)."""
    text = _letters(name)
    candidates = candidate_gpus(name)
    if len(candidates) != 1:
        return None
    model = candidates[0].partition("-")[0]
    is_model_alone = text == model
    return None if is_model_alone and "-" in candidates[0] else candidates[0]  # `v100`: there is one of 16 GB, too


def candidate_gpus(name: str) -> tuple[str, ...]:
    """The accelerators that may be meant: of `a100` three."""
    text = _letters(name)
    return tuple(each for each in known_hardware() if _letters(each).startswith(text) and text.startswith(each.partition("-")[0]))


def unclear_gpu(name: str, written: str, candidates: Iterable[str] = ()) -> str:
    """What is said of a name that is not one accelerator's. `written` is the part of the file with the name."""
    several = ", ".join(candidates or candidate_gpus(name))
    why = f"may be {several}" if several else "is not known to fakerun"
    return f"{written}: {name} {why}; without a line `hardware:` it is {DEFAULT_HARDWARE}"


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]|nvidia|tesla|amd|instinct|geforce|quadro", "", name.lower())


def _label(device_name: str) -> str:
    return device_name.lower().replace(" ", "-")
