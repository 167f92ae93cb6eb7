"""What `operation_times.py` measures: one module a kind of operation, each with an `items()` that declares its grid."""
