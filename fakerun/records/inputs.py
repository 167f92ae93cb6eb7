"""RankInputs: what a rank's program read that the job does not say."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

INPUTS = "inputs.json"
"""The file in a rank's directory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankInputs:
    """Absolute paths of files that were imported or opened for reading, of directories that were listed, and of what was only looked for,
    whether it is there or not; names of variables, and whether all of them were listed.

    Without those of Python, of installed packages and of the system. `made` are paths that the rank has made or written itself. `unseen`
    says why there may be more; empty if there is not.
    """

    files: tuple[str, ...] = ()
    directories: tuple[str, ...] = ()
    looked_for: tuple[str, ...] = ()
    made: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    lists_variables: bool = False
    unseen: str = ""

    def as_json(self) -> Mapping[str, Any]:
        """For `of_json`."""
        return asdict(self)

    @classmethod
    def of_json(cls, value: Any) -> "RankInputs":
        """What `as_json` gave.

        Raises:
            KeyError, TypeError: it is something else.
        """
        return cls(
            files=tuple(value["files"]),
            directories=tuple(value["directories"]),
            looked_for=tuple(value["looked_for"]),
            made=tuple(value["made"]),
            variables=tuple(value["variables"]),
            lists_variables=bool(value["lists_variables"]),
            unseen=str(value["unseen"]),
        )
