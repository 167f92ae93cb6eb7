"""What the caching allocator of a GPU did for random programs of allocations, as `scripts/dev/gpu/allocator_events.py` recorded it.

`replay` asks the allocator of `fakerun.allocator` the same, and says where the two differ.
"""
