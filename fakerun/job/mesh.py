"""MeshSpec: the device mesh that a job requests, and its syntax on the command line and in job files."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from fakerun.errors import UsageError
from fakerun.mesh import Mesh
from fakerun.units import is_count, why_no_count

DEFAULT_AXES = {1: ("dp",), 2: ("dp", "tp"), 3: ("pp", "dp", "tp")}
"""Names for a mesh given by sizes alone, outermost first, by number of axes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshSpec(Mesh):
    """The mesh that a job requests. `named` is whether the user named the axes; if not, they are `DEFAULT_AXES`, and the names in the
    script replace them.
    """

    named: bool

    def __str__(self) -> str:
        """As the user gave it: `2x4` if the axes are not named."""
        return Mesh.__str__(self) if self.named else "x".join(map(str, self.sizes))


def parse_mesh(text: str) -> MeshSpec:
    """A mesh as the user writes it: `2x4`, or `dp=2,tp=4` when the axes are named. Spaces are ignored.

    Raises:
        UsageError: the message has the text, the reason and the syntax of a mesh.
    """
    if "=" in text:
        return _parse_named(text)
    sizes = [part.strip() for part in re.split("[xX]", text)]
    for size in filter(str.isdecimal, sizes):
        if not is_count(size):
            raise UsageError(f"mesh {text!r}: {size} {why_no_count(size, 'is not a number')}")
    if not all(map(is_count, sizes)):
        raise UsageError(f"mesh {text!r} is neither sizes nor named sizes; write 2x4 or dp=2,tp=4")
    return _checked(f"mesh {text!r}", tuple(map(int, sizes)), axes=None)


def mesh_from_axes(axes: Mapping[str, int]) -> MeshSpec:
    """A mesh given as a map from axis name to size, outermost first, as in a job file."""
    mesh = ",".join(f"{axis}={size}" for axis, size in axes.items())
    return _checked(f"mesh {mesh!r}", tuple(axes.values()), tuple(axes))


def _parse_named(text: str) -> MeshSpec:
    axes, sizes = [], []
    for part in text.split(","):
        axis, equals, size = (piece.strip() for piece in part.partition("="))
        if not equals or not is_count(size):
            reason = "has no size" if not equals or not size else f"has size {size!r}, which {why_no_count(size, 'is not a whole number')}"
            raise UsageError(f"mesh {text!r}: axis {axis!r} {reason}; give every axis a name and a size, as in dp=2,tp=4")
        axes.append(axis)
        sizes.append(int(size))
    return _checked(f"mesh {text!r}", tuple(sizes), tuple(axes))


def _checked(mesh: str, sizes: tuple[int, ...], axes: tuple[str, ...] | None) -> MeshSpec:
    """The mesh, or a UsageError that starts with `mesh`. Without `axes`, names come from the number of sizes."""
    if not sizes:
        raise UsageError(f"{mesh} has no axes; write dp=2,tp=4 or 2x4")
    if min(sizes) < 1:
        raise UsageError(f"{mesh} has an axis of size {min(sizes)}; every axis needs at least 1 rank")
    if axes is None:
        if len(sizes) not in DEFAULT_AXES:
            raise UsageError(f"{mesh} has {len(sizes)} axes, but only up to 3 have default names; name them, as in pp=2,dp=2,cp=2,tp=2")
        return MeshSpec(axes=DEFAULT_AXES[len(sizes)], sizes=sizes, named=False)
    for axis, count in Counter(axes).items():
        if not axis.isidentifier():
            raise UsageError(f"{mesh}: axis name {axis!r} is not an identifier; use letters, digits and _, as in dp_shard=4")
        if count > 1:
            raise UsageError(f"{mesh}: axis {axis!r} is given {count} times; give every axis a name of its own")
    return MeshSpec(axes=axes, sizes=sizes, named=True)
