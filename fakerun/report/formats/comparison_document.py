"""The JSON of a comparison, key by key, with the rules of `json_document`."""

from typing import Literal

from typing_extensions import TypedDict  # as in json_document

from fakerun.report.formats.json_document import CallSiteDocument


class ComparedJobDocument(TypedDict):
    """One side of a comparison."""

    name: str
    """What was compared: the path or the name that was given."""
    program: str
    """The program and its arguments."""
    ranks: str
    """Ranks of the job, nodes and ranks per node."""
    mesh: str
    """The mesh in effect; `none` without one."""
    hardware: str
    """The accelerator, as in `--hardware`."""
    steps: str
    """Steps that were completed."""
    made_with: str
    """The versions of fakerun and torch."""


class ChangedFactDocument(TypedDict):
    """Something that was asked for and differs; it fails nothing by itself."""

    label: str
    """What it is."""
    old: str
    """Its old value."""
    new: str
    """Its new value."""


class DifferenceDocument(TypedDict):
    """One difference beyond the tolerances."""

    kind: str
    """What differs: mesh, ranks, ending, calls, messages, devices, parameters, memory."""
    what: str
    """The difference in words."""
    cause: str | None
    """What may have changed in the program; null where nothing in the records says so."""
    classes: list[str]
    """Classes of the ranks that it is true of; empty for all."""
    message: str
    """All of it in one sentence."""
    call_site: CallSiteDocument | None
    """A line of the new run; null where none is known."""


class ComparedFigureDocument(TypedDict):
    """One quantity of a class of ranks, before and now."""

    ranks: str
    """The class."""
    what: str
    """The quantity."""
    unit: Literal["bytes", "calls"]
    """The unit of both values."""
    old: int
    """The old value."""
    new: int
    """The new value."""
    tolerance: str
    """How far they may be apart."""
    is_within: bool
    """Whether they are no further apart."""


class ComparisonDocument(TypedDict):
    """What `fakerun compare --format json` writes."""

    schema_version: Literal[2]
    """The version of this schema."""
    old: ComparedJobDocument
    """The old job."""
    new: ComparedJobDocument
    """The new job."""
    changed_facts: list[ChangedFactDocument]
    """What was asked for otherwise."""
    differences: list[DifferenceDocument]
    """What differs; empty if the jobs are equal within the tolerances."""
    figures: list[ComparedFigureDocument]
    """Quantities of the classes that both have."""
    exit_code: int
    """0 without differences, else 1."""


COMPARISON_DOCUMENTS = (
    ComparisonDocument,
    ComparedJobDocument,
    ChangedFactDocument,
    DifferenceDocument,
    ComparedFigureDocument,
    CallSiteDocument,
)
"""Every kind of object in a comparison."""
