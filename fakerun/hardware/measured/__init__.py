"""What operations took on real accelerators: raw figures, one file an accelerator; README.md beside them says how they were taken."""

import gzip
import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SUFFIX = ".json.gz"


def measured_accelerators() -> tuple[str, ...]:
    """Names in the catalogue of the accelerators that there are figures of."""
    return tuple(sorted(path.name.removesuffix(SUFFIX) for path in HERE.glob(f"*{SUFFIX}")))


def measured_operations(accelerator: str) -> dict[str, Any]:
    """The `environment` of a measurement and its `entries`, times in microseconds."""
    document: dict[str, Any] = json.loads(gzip.decompress((HERE / f"{accelerator}{SUFFIX}").read_bytes()))
    return document
