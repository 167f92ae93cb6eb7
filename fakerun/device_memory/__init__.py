"""The memory of a rank's devices: caching allocators that are asked what the device program asks, and what kernels take beside that.

`trace` follows the program with them while the script runs, `analysis` replays a kept one.
"""
