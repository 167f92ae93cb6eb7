"""What a user writes for the hardware of a job: a name, or a name with figures of its own. Becomes an Accelerator.

`h100-80gb,memory=94GiB` on the command line, `{base: h100-80gb, memory: 94GiB}` there and in a job file.
"""

from collections.abc import Mapping

from fakerun.errors import UsageError
from fakerun.hardware.accelerator import FIGURES, Accelerator, accelerator_of
from fakerun.hardware.catalogue import entry_named
from fakerun.spelling import did_you_mean

BASE = "base"
"""The key of a mapping that names the accelerator whose figures are replaced."""

_FORMS = "give a name (h100-80gb), with figures of your own (h100-80gb,memory=94GiB), or {base: h100-80gb, memory: 94GiB}"


def parse_hardware(text: str) -> Accelerator:
    """The accelerator that the text asks for, in any of the forms.

    Raises:
        UsageError: no such accelerator or figure, or a figure's value is not possible.
    """
    if text.lstrip().startswith("{"):
        return _from_flow_mapping(text)
    name, *parts = (part.strip() for part in text.split(","))
    overrides: dict[str, str] = {}
    for part in parts:
        key, equals, value = (side.strip() for side in part.partition("="))
        if not equals:
            raise UsageError(f"hardware {text!r}: {part!r} is not KEY=VALUE; {_FORMS}")
        if key in overrides:
            raise UsageError(f"hardware {text!r}: {key} is given twice: keep one")
        overrides[key] = value
    return hardware_with(name, overrides)


def hardware_with(base: str, overrides: Mapping[str, str]) -> Accelerator:
    """The accelerator `base` with some figures replaced, given as text by key.

    Raises:
        UsageError: no such accelerator or figure, or a figure's value is not possible.
    """
    entry = entry_named(base)
    values = {key: figure.value for key, figure in entry.figures.items()}
    for key, text in overrides.items():
        check_figure_key(key)
        values[key] = parse_figure(key, text)
    return accelerator_of(entry.accelerator.name, entry.accelerator.vendor, values, dict(overrides))


def check_figure_key(key: str) -> None:
    """Refuse a key that no figure has.

    Raises:
        UsageError: it offers the nearest ones and lists all.
    """
    if key not in FIGURES:
        raise UsageError(f"unknown figure {key!r}{did_you_mean(key, FIGURES)}; known: {', '.join(FIGURES)}")


def parse_figure(key: str, text: str) -> object:
    """The value of a figure.

    Raises:
        UsageError: the text is no such value; the message says what is.
    """
    try:
        return FIGURES[key].parse(text)
    except UsageError as error:
        raise UsageError(f"{key}: {error}") from error


def _from_flow_mapping(text: str) -> Accelerator:
    import yaml

    try:
        mapping = yaml.load(text, Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        raise UsageError(f"hardware {text!r} is no YAML; {_FORMS}") from error
    if not isinstance(mapping, dict) or not all(isinstance(value, str) for value in mapping.values()) or BASE not in mapping:
        raise UsageError(f"hardware {text!r} has no base, or is no flat mapping; {_FORMS}")
    return hardware_with(mapping[BASE], {key: value for key, value in mapping.items() if key != BASE})
