"""Log records that torch emits only because the job is simulated. They are kept off the script's stderr."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

_FAKE_TENSORS = logging.getLogger("torch._subclasses.fake_tensor")


@contextmanager
def silenced_kernel_log(_: object) -> Iterator[None]:
    """Do not log failed meta kernels (torch 2.13): the script gets the exception, and a real device would log nothing."""

    def is_no_failure(record: logging.LogRecord) -> bool:
        return record.levelno != logging.ERROR

    _FAKE_TENSORS.addFilter(is_no_failure)
    try:
        yield
    finally:
        _FAKE_TENSORS.removeFilter(is_no_failure)
