"""RankInputs: what a rank's program read that the job does not say."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

INPUTS = "inputs.json"
"""The file in a rank's directory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankInputs:
    """Absolute paths of files that were imported or opened for reading, and of directories that were listed; names of variables.

    Without those of Python, of installed packages and of the system. `unseen` says why there may be more; empty if there is not.
    """

    files: tuple[str, ...] = ()
    directories: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    unseen: str = ""

    def as_json(self) -> Mapping[str, Any]:
        """For `of_json`."""
        return {"files": self.files, "directories": self.directories, "variables": self.variables, "unseen": self.unseen}

    @classmethod
    def of_json(cls, value: Any) -> "RankInputs":
        """What `as_json` gave.

        Raises:
            KeyError, TypeError: it is something else.
        """
        return cls(
            files=tuple(value["files"]),
            directories=tuple(value["directories"]),
            variables=tuple(value["variables"]),
            unseen=str(value["unseen"]),
        )
