"""Ranks that stand for others: which to simulate of a large world, and what the others are then taken to have done."""

from fakerun.analysis.representatives.assumed import assumed_records
from fakerun.analysis.representatives.choice import Choice, Representatives

__all__ = ["Choice", "Representatives", "assumed_records"]
