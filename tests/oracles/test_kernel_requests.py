"""What single operations request, against the record of a real GPU: every size in each phase of each call, and the peak.

Requests of up to 16 bytes are left out, and the order in which they are freed.
"""

import pytest
import torch

from tests.in_process import Simulate
from tests.oracles.kernel_requests.known_differences import KNOWN_DIFFERENCES, NOT_SIMULATED
from tests.oracles.kernel_requests.measured import differences, measured
from tests.oracles.kernel_requests.predicted import SECTIONS, predicted

COMPARED = [section for section in SECTIONS if section not in NOT_SIMULATED]
IS_MEASURED_VERSION = torch.__version__.startswith("2.11.")


@pytest.mark.parametrize("section", COMPARED)
def test_calls_request_what_they_requested_on_a_gpu(section: str, simulate: Simulate) -> None:
    simulate(nproc_per_node=1, hardware="h200")
    real = measured()[section]
    found = {name: differences(real[name], entry) for name, entry in predicted(section).items()}
    differing = {name: texts for name, texts in found.items() if texts}
    known = [known for known in KNOWN_DIFFERENCES if known.section == section]
    assert {name: texts for name, texts in differing.items() if not any(each.covers(section, name) for each in known)} == {}
    stale = [each for each in known if not each.since and not any(each.covers(section, name) for name in differing)]
    assert not IS_MEASURED_VERSION or stale == []


def test_known_differences_are_of_sections_that_are_compared() -> None:
    assert {known.section for known in KNOWN_DIFFERENCES} <= set(COMPARED)
    assert set(measured()) == set(SECTIONS)
