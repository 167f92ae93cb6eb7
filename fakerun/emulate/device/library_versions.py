"""Versions of the libraries that torch is made to report: those of its build, or else those of the wheels for CUDA 12.8."""

import torch

CUDA_VERSION = "12.8"
HIP_VERSION = "6.4.43484"
NCCL_VERSION = (2, 27, 5)
"""For builds without NCCL: the version in the torch 2.13 wheels for this CUDA."""

_CUDNN_VERSION = 91002


def cudnn_version() -> int:
    """The cuDNN of torch's build."""
    return torch.backends.cudnn.version() or _CUDNN_VERSION
