"""How parts of job files are validated: UsageErrors as pydantic's errors, and pydantic's errors as messages in fakerun's words."""

import reprlib
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import date, time
from typing import Any, get_args

from pydantic import AfterValidator, BaseModel
from pydantic_core import ErrorDetails, PydanticCustomError

from fakerun.errors import UsageError
from fakerun.job.document import Key
from fakerun.spelling import did_you_mean

NOT_KEYS = frozenset({"<map>", "<text>", "[key]"})
"""What pydantic adds to the path of an error: the form of mesh or hardware that was selected, or that the error is in a key."""


def valid_if(check: Callable[[Any], object]) -> AfterValidator:
    """Pass the value through `check`; its UsageError becomes the message."""
    return AfterValidator(with_own_message(check))


def with_own_message(check: Callable[[Any], object]) -> Callable[[Any], object]:
    """The same function for pydantic, with the message of its UsageError."""

    def validate(value: Any) -> object:
        try:
            return check(value)
        except UsageError as error:
            raise PydanticCustomError("refused", "{message}", {"message": str(error)}) from error

    return validate


def message_of(error: ErrorDetails, path: Sequence[Key], model: type[BaseModel], *, what: str) -> str:
    """The message for an error that pydantic found at `path` of a file that is described by `model` and called `what` (`a job file`)."""
    value = shown(error["input"])
    match error["type"]:
        case "extra_forbidden":
            allowed = _keys(model, path[:-1])
            return f"unknown key{did_you_mean(str(path[-1]), allowed)}; allowed: {', '.join(allowed)}"
        case "model_type":
            subject = f"{what} must be" if not path else "must be"
            return f"{subject} a mapping, not {value}; allowed keys: {', '.join(_keys(model, path))}"
        case "greater_than_equal":
            return f"must be at least {error['ctx']['ge']}, not {error['input']}"
        case "string_too_short":
            return "must not be empty"
        case kind if kind in _KINDS:
            return f"must be {_KINDS[kind]}, not {value}"
        case _:
            return error["msg"]


_KINDS = {
    "bool_type": "true or false",
    "int_type": "a whole number",
    "string_type": "a string",
    "list_type": "a list",
    "dict_type": "a mapping",
}
"""What a value must be, by pydantic's type of error."""


def shown(value: object) -> str:
    """A value as an error message shows it."""
    match value:
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case str():
            return f"the string {reprlib.repr(value)}"
        case bool():
            return str(value).lower()
        case date() | time():
            return f"the date {value}"
        case _:
            return f"the number {value}"


def _keys(model: type[BaseModel], path: Sequence[Key]) -> Collection[str]:
    """The keys of the model at that path."""
    for key in path:
        field = model.model_fields.get(str(key))
        annotation = model.__annotations__.get("__pydantic_extra__") if field is None else field.annotation
        model = next(_models(annotation), model)
    return tuple(model.model_fields)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that an annotation mentions."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)
