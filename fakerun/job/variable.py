"""Values of environment variables that differ between ranks: `${rank}` in a value stands for the rank's number.

`$${` stands for `${` itself. A dollar sign that begins neither is one.
"""

import re
from collections.abc import Mapping

from fakerun.errors import UsageError
from fakerun.spelling import did_you_mean

NAMES = ("rank", "local_rank", "node_rank", "world_size")
"""What may stand between the braces."""

_PLACE = re.compile(r"\$(\$\{)|\$\{([^{}]*)\}")


def check_value(text: str) -> str:
    """The text, if it names only what is known.

    Raises:
        UsageError: it names something else.
    """
    for escaped, name in _PLACE.findall(text):
        if not escaped and name not in NAMES:
            raise UsageError(f"unknown name ${{{name}}}{did_you_mean(name, NAMES)}; known: {', '.join(NAMES)}; $${{ stands for ${{")
    return text


def literal_value(text: str) -> str:
    """The value that stands for this text as it is."""
    return text.replace("${", "$${")


def value_of(text: str, numbers: Mapping[str, int]) -> str:
    """The value for a rank; `numbers` has those of `NAMES`."""
    return _PLACE.sub(lambda found: found[1] or str(numbers[found[2]]), text)
