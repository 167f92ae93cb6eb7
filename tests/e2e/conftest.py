"""What the tests of this directory share."""

from tests.shared_results import shared_results

__all__ = ["shared_results"]
