"""Dry-run simulator for distributed PyTorch jobs: run a CUDA training script with no GPU and see what each rank does."""

__version__ = "0.1.0"
