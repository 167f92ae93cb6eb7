"""Which kernels CUDA would run, where that decides about memory or results: autocast, attention, fused operators."""
