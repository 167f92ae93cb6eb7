"""Device memory: what each rank allocates (footprint), what it consists of (breakdown), where (devices), and whether it fits (fit).

Pure functions over memory timelines; reserved memory and what would help to make a job fit belong here.
"""
