"""The variables of a rank's environment that decide how much memory its devices need."""

from fakerun.device_memory.kernels import matrix_products

MEMORY_VARIABLES = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", *matrix_products.VARIABLES)
