"""Settings of the caching allocator, as a job has them: the text of PYTORCH_ALLOC_CONF, which the ranks find there."""

from fakerun.allocator.settings import AllocatorSettings
from fakerun.errors import UsageError


def checked_alloc_conf(text: str) -> str:
    """The text, which torch takes.

    Raises:
        UsageError: it refuses it; the message says why in torch's words.
    """
    try:
        AllocatorSettings.parse(text)
    except ValueError as error:
        raise UsageError(f"alloc-conf {text!r}: {error}; write it as PYTORCH_ALLOC_CONF, as in expandable_segments:True") from error
    return text
