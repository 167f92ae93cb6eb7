"""What torch logs only because the job is simulated: kept off the script's stderr."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

_FAKE_TENSORS = logging.getLogger("torch._subclasses.fake_tensor")


@contextmanager
def silenced_kernel_log(_: object) -> Iterator[None]:
    """Let no failed meta kernel be logged (torch 2.13): the script gets the exception, and on a device nothing would be logged."""

    def is_no_failure(record: logging.LogRecord) -> bool:
        return record.levelno != logging.ERROR

    _FAKE_TENSORS.addFilter(is_no_failure)
    try:
        yield
    finally:
        _FAKE_TENSORS.removeFilter(is_no_failure)
