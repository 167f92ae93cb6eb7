"""Places: where in the program of a run its calls are issued and its memory is allocated, for what a baseline names without lines."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fakerun.analysis.baseline.baseline import Call
from fakerun.call_site import CallSite
from fakerun.records.memory import Category


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Places of one run, all empty for a baseline that was read.

    `calls` has the first place of each call, without its function; `functions` the first place of a call in each function. `memory` has
    by module and category the place of what is largest at the peak; `made` by module the place where its parameters were made, before
    they were sharded. `devices` has by name of a device the place of the first block on it, `mesh` where a mesh is created.
    """

    calls: Mapping[Call, CallSite] = field(default_factory=dict)
    functions: Mapping[str, CallSite] = field(default_factory=dict)
    memory: Mapping[tuple[str, Category], CallSite] = field(default_factory=dict)
    made: Mapping[str, CallSite] = field(default_factory=dict)
    devices: Mapping[str, CallSite] = field(default_factory=dict)
    mesh: CallSite | None = None
