"""Accelerators, their interconnects and nodes: one data file, every figure with its source."""
