"""Ranks that stand for others: which to simulate of a large world, and what the others are then taken to have done."""

from fakerun.analysis.representatives.extrapolation import assumed_records
from fakerun.analysis.representatives.selection import Choice, Representatives

__all__ = ["Choice", "Representatives", "assumed_records"]
