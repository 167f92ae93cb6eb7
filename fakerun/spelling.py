"""Suggestions for a misspelled name, as a part of an error message."""

from collections.abc import Iterable
from difflib import get_close_matches

_MOST = 3
_MIN_PREFIX_LENGTH = 3
"""Minimum length of a name that is taken as the beginning of another one."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """` (did you mean 'a' or 'b'?)`, or an empty string when no known name is near. Append it directly to the name.

    Leading dashes are ignored: they would make `--role` near `--frob`.
    """
    by_letters = {candidate.lstrip("-"): candidate for candidate in known}
    letters = name.lstrip("-")
    completions = [known for known in by_letters if len(letters) >= _MIN_PREFIX_LENGTH and known.startswith(letters)]
    near = [by_letters[match] for match in dict.fromkeys([*completions, *get_close_matches(letters, by_letters)])][:_MOST]
    return f" (did you mean {' or '.join(map(repr, near))}?)" if near else ""
