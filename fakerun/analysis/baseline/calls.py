"""A call as a line of text, and back: `all_reduce sum float32 4096 B on dp (8) in backward of layers.* by Block.forward`.

Words in order: operation, reduction if any, dtype (`-` for none), bytes; then `from` a root, `to` a peer, `on` a group, `in` a phase, `of`
a module, `by` a function. A name with a space in it is written as a string of JSON.
"""

import json
import re
from collections.abc import Iterator, Sequence

from fakerun.analysis.baseline.baseline import Call
from fakerun.records.collective import Phase

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|\S+')
_BARE = re.compile(r"[^\s\"]+")
_NOTHING = "-"
_UNIT = "B"
NO_GROUP = "a group without a name"
_NUMBER = re.compile("[0-9]{1,18}")
_SIZE = re.compile(r"\(([0-9]{1,9})\)")


def call_line(call: Call) -> str:
    """The call as a line."""
    return " ".join(_words(call))


def what_is_called(call: Call) -> str:
    """`all_gather_into_tensor on dp in backward of layers.*`: the call in a sentence, without its size."""
    module = f" of {call.module}" if call.module else ""
    where = f" in {call.phase}{module}" if call.phase is not Phase.OTHER or module else ""
    return f"{call.op} on {call.group or NO_GROUP}{where}"


def parsed_call(line: str) -> Call:
    """The call of a line.

    Raises:
        ValueError: it is none; the message says what is missing.
    """
    words = _TOKEN.findall(line)
    end = next((at for at, word in enumerate(words) if word == _UNIT), 0)
    if end not in (3, 4) or not _NUMBER.fullmatch(words[end - 1]):
        raise ValueError(f"{line!r} is not a call: it has no size, as in 'all_reduce sum float32 4096 B on dp (8) in backward'")
    clauses = _clauses(line, words[end + 1 :])
    return Call(
        op=words[0],
        reduce_op=_name(words[1]) if end == 4 else None,
        dtype="" if (dtype := _name(words[end - 2])) == _NOTHING else dtype,
        nbytes=int(words[end - 1]),
        group=_name_or_none(clauses.get("on")),
        group_size=int(clauses["size"]),
        peer=_optional_number(line, clauses.get("to")),
        root=_optional_number(line, clauses.get("from")),
        phase=_phase(line, clauses.get("in", "")),
        module=None if "of" not in clauses else _name(clauses["of"]),
        function=None if "by" not in clauses else _name(clauses["by"]),
    )


def _words(call: Call) -> Iterator[str]:
    yield call.op
    if call.reduce_op is not None:
        yield _written(call.reduce_op)
    yield _written(call.dtype) if call.dtype else _NOTHING
    yield f"{call.nbytes} {_UNIT}"
    if call.root is not None:
        yield f"from {call.root}"
    if call.peer is not None:
        yield f"to +{call.peer}"
    yield f"on {_NOTHING if call.group is None else _written(call.group)} ({call.group_size})"
    yield f"in {call.phase}"
    if call.module is not None:
        yield f"of {_written(call.module)}"
    if call.function is not None:
        yield f"by {_written(call.function)}"


def _clauses(line: str, words: Sequence[str]) -> dict[str, str]:
    """The words after `from`, `to`, `on`, `in`, `of` and `by`; and after `on` the size of the group."""
    found: dict[str, str] = {}
    rest = iter(words)
    for keyword in rest:
        value = next(rest, None)
        if keyword not in ("from", "to", "on", "in", "of", "by") or keyword in found or value is None:
            raise ValueError(f"{line!r} is not a call: {keyword!r} is not expected")
        found[keyword] = value
        if keyword == "on":
            size = _SIZE.fullmatch(next(rest, ""))
            if size is None:
                raise ValueError(f"{line!r} is not a call: the size of its group is missing, as in 'on dp (8)'")
            found["size"] = size[1]
    if "size" not in found:
        raise ValueError(f"{line!r} is not a call: its group is missing, as in 'on dp (8)'")
    return found


def _optional_number(line: str, word: str | None) -> int | None:
    if word is None:
        return None
    digits = word.removeprefix("+")
    if not _NUMBER.fullmatch(digits):
        raise ValueError(f"{line!r} is not a call: {word!r} is no number")
    return int(digits)


def _phase(line: str, word: str) -> Phase:
    if word not in Phase._value2member_map_:
        raise ValueError(f"{line!r} is not a call: its phase must be one of {', '.join(Phase)}, as in 'in backward'")
    return Phase(word)


def _written(name: str) -> str:
    return name if _BARE.fullmatch(name) and name not in (_NOTHING, _UNIT) else json.dumps(name)


def _name(word: str) -> str:
    try:
        return str(json.loads(word)) if word.startswith('"') else word
    except ValueError as error:
        raise ValueError(f"{word} is no string of JSON") from error


def _name_or_none(word: str | None) -> str | None:
    return None if word is None or word == _NOTHING else _name(word)
