"""The caching allocator against a second one that was written from the rules alone, event by event.

`python -m tests.oracles.compare_allocators --events 1000000` runs longer.
"""

import pytest

from tests.oracles.compare_allocators import CASES, Case, Comparison


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("case", CASES, ids=[case.text or "default" for case in CASES])
def test_both_allocators_do_the_same(case: Case, seed: int) -> None:
    Comparison(case, 1000 + seed).run(1500, snapshot_every=20)
