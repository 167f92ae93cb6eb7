"""The nearest known names to a name that is not known, as a part of an error message."""

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """` (did you mean 'a' or 'b'?)`, or nothing when no known name is near. To be put right after the name.

    Leading dashes do not make two options alike: without them, `--role` is not near `--frob`.
    """
    by_letters = {candidate.lstrip("-"): candidate for candidate in known}
    letters = name.lstrip("-")
    close = sorted(get_close_matches(letters, by_letters), key=lambda known: not known.startswith(letters))  # what is only cut short first
    near = [by_letters[match] for match in close]
    return f" (did you mean {' or '.join(map(repr, near))}?)" if near else ""
