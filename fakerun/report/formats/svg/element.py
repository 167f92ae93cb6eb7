"""Elements of SVG as text, and the numbers in them."""

from collections.abc import Iterable

_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"})


def element(name: str, *content: str, **attributes: str | float) -> str:
    """An element of other elements; `_` in the name of an attribute is `-`, and behind it nothing."""
    written = "".join(f' {key.rstrip("_").replace("_", "-")}="{_value(value)}"' for key, value in attributes.items())
    return f"<{name}{written}>{''.join(content)}</{name}>" if content else f"<{name}{written}/>"


def text(words: str, x: float, y: float, **attributes: str | float) -> str:
    """A line of text from its base line at `y`."""
    return element("text", words.translate(_ESCAPES), x=x, y=y, **attributes)


def title(words: str) -> str:
    """What viewers show where the pointer is."""
    return element("title", words.translate(_ESCAPES))


def line(x1: float, y1: float, x2: float, y2: float, **attributes: str | float) -> str:
    """A straight line between two points."""
    return element("path", d=f"M{number(x1)} {number(y1)}L{number(x2)} {number(y2)}", **attributes)


def box(x: float, y: float, width: float, height: float, *content: str, **attributes: str | float) -> str:
    """A rectangle, by its upper left corner."""
    return element("rect", *content, x=x, y=y, width=width, height=height, **attributes)


def number(value: float) -> str:
    """With one decimal, if it has any."""
    written = f"{value:.1f}".removesuffix(".0")
    return "0" if written == "-0" else written


def stairs(start: tuple[float, float], corners: Iterable[tuple[float, float]], end: float) -> str:
    """The path that keeps its level until a corner and goes on at the level of that, up to `end`."""
    level = number(start[1])
    path = [f"M{number(start[0])} {level}"]
    for x, y in corners:
        if (following := number(y)) != level:
            path.append(f"H{number(x)}V{following}")
            level = following
    return "".join((*path, f"H{number(end)}"))


def _value(value: str | float) -> str:
    return value.translate(_ESCAPES) if isinstance(value, str) else number(value)
