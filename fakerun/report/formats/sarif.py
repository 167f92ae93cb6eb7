"""SARIF 2.1.0, for code scanning: GitHub's upload-sarif, and viewers.

Source: OASIS, "Static Analysis Results Interchange Format (SARIF) Version 2.1.0"; GitHub Docs, "SARIF support for code scanning", for what
GitHub reads of it: one run with a tool, rules with help, results with one location.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

import fakerun
from fakerun.records.finding_code import Severity
from fakerun.report.diagnostics import Diagnostic, Place, Rule, diagnostics_of, rules
from fakerun.report.job_report import JobResult

_ROOT = "%SRCROOT%"
_LEVELS = MappingProxyType({Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "note"})


def render(jobs: Sequence[JobResult], /) -> str:
    """One run with all jobs: of several runs with one tool GitHub refuses the file."""
    diagnostics = diagnostics_of(jobs)
    used = {each.rule.id for each in diagnostics}
    document = {
        "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
        "version": "2.1.0",
        "runs": [_run(diagnostics, [rule for rule in rules() if rule.id in used], of_jobs=len(jobs) > 1)],
    }
    return json.dumps(document, indent=2) + "\n"


def _run(diagnostics: Iterable[Diagnostic], used: Sequence[Rule], *, of_jobs: bool) -> dict[str, Any]:
    index = {rule.id: number for number, rule in enumerate(used)}
    return {
        "tool": {"driver": {"name": "fakerun", "semanticVersion": fakerun.__version__, "rules": list(map(_rule, used))}},
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {_ROOT: {"description": {"text": "The root of the repository."}}},
        "results": [_result(each, index, of_jobs=of_jobs) for each in diagnostics],
    }


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": rule.meaning},
        "help": {
            "text": f"{rule.meaning}\n\nWhat to do: {rule.way_out}\n\nSee {rule.page}.",
            "markdown": f"**{rule.title}.** {rule.meaning}\n\n*What to do:* {rule.way_out}\n\nSee `{rule.page}`.",
        },
        "defaultConfiguration": {"level": _LEVELS[rule.severity]},
        "properties": {"tags": ["distributed", "pytorch"]},
    }


def _result(diagnostic: Diagnostic, index: Mapping[str, int], *, of_jobs: bool) -> dict[str, Any]:
    place = diagnostic.place
    related = [{"id": number, **_location(each.place), "message": {"text": each.what}} for number, each in enumerate(diagnostic.related, 1)]
    return {
        "ruleId": diagnostic.rule.id,
        "ruleIndex": index[diagnostic.rule.id],
        "level": _LEVELS[diagnostic.level],
        "message": {"text": " ".join(diagnostic.sentences(of_jobs=of_jobs))},
        "locations": [] if place is None else [_location(place)],
        **({"relatedLocations": related} if related else {}),
        "partialFingerprints": {"fakerun/v1": diagnostic.fingerprint},
        "properties": {"jobs": list(diagnostic.jobs), "ranks": list(diagnostic.ranks)},
    }


def _location(place: Place) -> dict[str, Any]:
    """GitHub shows a result of a file as a whole at its first line."""
    function = {} if place.function is None else {"logicalLocations": [{"name": place.function, "kind": "function"}]}
    return {
        "physicalLocation": {
            "artifactLocation": {"uri": quote(place.path, errors="backslashreplace"), "uriBaseId": _ROOT},
            "region": {"startLine": place.line or 1},
        },
        **function,
    }
