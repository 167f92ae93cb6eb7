"""Memory snapshots of real GPUs: what torch's allocator was asked, and where it put each block.

`torch.cuda.memory._record_memory_history` keeps each request of a program with its address, `_dump_snapshot` writes them with the segments
and blocks that are there at the end. People have published such files. `convert.py` makes a short file of one; `recorded.py` reads these.
"""
