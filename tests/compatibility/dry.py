"""The dry run of a case: all its ranks under the fakerun command."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any

from tests.commands import fakerun
from tests.compatibility.case import Case
from tests.oracles.programs import CallIdentity
from tests.oracles.torchrun import tuples


@dataclass(frozen=True, kw_only=True)
class DryRun:
    """fakerun's report of each rank, and the codes of all findings."""

    ranks: tuple[Mapping[str, Any], ...]
    findings: frozenset[str]

    def operations(self, rank: int) -> Mapping[str, int]:
        return Counter(call["op"] for call in self.ranks[rank]["collectives"])

    def calls(self, rank: int) -> list[CallIdentity]:
        return [call_identity(call) for call in self.ranks[rank]["collectives"]]


def dry_run(case: Case) -> DryRun:
    """Simulate all ranks of the case, which must succeed."""
    mesh = () if case.mesh is None else ("--mesh", case.mesh)
    options = ("--nproc-per-node", str(case.world_size), "--ranks", "all", *mesh, "--steps", str(case.steps), "--format", "json")
    with TemporaryDirectory() as directory:
        arguments = (argument.format(directory=directory) for argument in case.args)
        command = (*options, str(case.path), *arguments)
        result = fakerun(*command)
    assert result.returncode == 0, f"fakerun {' '.join(command)} ended with {result.returncode}:\n{result.stderr}\n{result.stdout}"
    report = json.loads(result.stdout)
    return DryRun(ranks=tuple(report["ranks"]), findings=frozenset(finding["code"] for finding in report["findings"]))


def call_identity(call: Mapping[str, Any]) -> CallIdentity:
    """A call of the report in the form of the recorder, for which a barrier has no dtype."""
    dtype = None if call["op"] == "barrier" else call["dtype"]
    return (call["op"], tuple(call["group_ranks"]), dtype, tuples(call["input_sizes"]), tuples(call["output_sizes"]))
