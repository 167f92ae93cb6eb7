"""The nearest known names to a name that is not known, as a part of an error message."""

from collections.abc import Iterable
from difflib import get_close_matches

_MOST = 3
_SHORTEST_CUT = 3
"""Letters from which on a name counts as another one cut short."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """` (did you mean 'a' or 'b'?)`, or nothing when no known name is near. To be put right after the name.

    Leading dashes do not make two options alike: without them, `--role` is not near `--frob`.
    """
    by_letters = {candidate.lstrip("-"): candidate for candidate in known}
    letters = name.lstrip("-")
    cut_short = [known for known in by_letters if len(letters) >= _SHORTEST_CUT and known.startswith(letters)]
    near = [by_letters[match] for match in dict.fromkeys([*cut_short, *get_close_matches(letters, by_letters)])][:_MOST]
    return f" (did you mean {' or '.join(map(repr, near))}?)" if near else ""
