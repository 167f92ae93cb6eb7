"""Device memory: what each rank allocates (footprint), what it consists of (breakdown), where (devices), what the allocator reserves for it
(reserved), what lives beside that (outside), and whether it fits (fit).

Pure functions over device programs; what would help to make a job fit belongs here.
"""
