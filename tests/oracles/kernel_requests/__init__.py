"""What single operations requested from the allocator of a GPU, as `scripts/dev/gpu/kernel_requests.py` recorded it.

`measured` reads and reduces the record, `predicted` runs the same calls in a simulation, `differences` says what is known to differ.
"""
