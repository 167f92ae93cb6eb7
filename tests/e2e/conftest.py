"""Fixtures of this directory."""

from tests.shared_results import shared_results

__all__ = ["shared_results"]
