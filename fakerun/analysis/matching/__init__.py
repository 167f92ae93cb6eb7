"""Do the ranks agree: their communication matched, group by group, message by message, and played through with its blocking rules.

Pure functions over records. What is found says who differs from whom, at which call of which group, on which lines, and what to do.
"""

from fakerun.analysis.matching.verdict import matching_findings

__all__ = ["matching_findings"]
