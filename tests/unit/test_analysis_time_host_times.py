"""Host times are a range, and what was measured lies in it."""

from dataclasses import fields

import pytest

from fakerun.analysis.time.host_times import FAST_HOST, SLOW_HOST, HostTimes
from fakerun.hardware.measured import measured_accelerators, measured_operations


def test_the_typical_host_is_between_the_fast_and_the_slow_one() -> None:
    for field in fields(HostTimes):
        assert getattr(FAST_HOST, field.name) <= getattr(HostTimes(), field.name) <= getattr(SLOW_HOST, field.name)


@pytest.mark.parametrize("card", measured_accelerators())
def test_eager_blocks_and_steps_took_a_time_of_the_host_in_the_range(card: str) -> None:
    """A block's time of the host over its kernels; the slow host's figure is the upper end of what was measured, within a tenth."""
    blocks = [each for each in measured_operations(card)["entries"] if each["kind"] == "block" and not each["compiled"]]
    assert blocks
    for block in blocks:
        per_kernel = block["host"]["us_median"] * 1e-6 / len(block["timeline"])
        assert FAST_HOST.operation_s < per_kernel < 1.1 * SLOW_HOST.operation_s, block["name"]
