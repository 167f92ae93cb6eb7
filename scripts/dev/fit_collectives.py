"""The constants of calls between nodes, fitted to the published runs of nccl-tests, and how far off they are on runs not fitted to.

Prints the constants of `FabricRule` and the latency of each fabric as fitted to all runs, then the agreement of every source with the
constants that are fitted to the others. A random search: relative errors above 30 % count as 30 %, messages above 64 MiB most. Sources of
older or unfinished installations are judged and not fitted to.

    nice python scripts/dev/fit_collectives.py          # ten minutes
"""

import argparse
import math
import random
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from fakerun.analysis.time.communication.across_nodes import FabricRule
from fakerun.hardware.collective_times import TimeCurve, collective_times
from fakerun.hardware.interconnects import interconnect_named

sys.path.insert(0, str(Path(__file__).parents[1]))
from dev.compare_collective_times import LARGE, MEDIUM, SMALL, JudgedRow, agreement, judged_curve

NOT_FITTED = frozenset({"awsome-eks-p5", "aws-efa-eks", "dranet-a4"})
WEIGHTS = {LARGE: 1.0, MEDIUM: 0.4, SMALL: 0.15}
MOST_ERROR = 0.3
STEPS = (0.3, 0.1, 0.03)
"""How far a constant is moved at random, as a standard deviation of its logarithm, in each third of the search."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Constants:
    """What is fitted: the rule, and the latency by fabric in seconds."""

    rule: FabricRule
    latencies: dict[str, float]

    def moved(self, by: float, chance: random.Random) -> "Constants":
        """Some of them multiplied by a random factor."""

        def near(value: float) -> float:
            return value * math.exp(chance.gauss(0, by)) if chance.random() < 0.3 else value

        rule = {key: near(value) for key, value in asdict(self.rule).items()}
        return Constants(
            rule=FabricRule(**{**rule, "nic_share": min(rule["nic_share"], 1.0), "hindrance": min(rule["hindrance"], 0.15)}),
            latencies={fabric: near(value) for fabric, value in self.latencies.items()},
        )


def fabric_of(curve: TimeCurve) -> str:
    """EFA of p4d is another generation than that of p5 and p6."""
    assert curve.interconnect is not None
    return curve.interconnect if curve.interconnect == "aws-p4d" else interconnect_named(curve.interconnect).fabric


def judged(curves: Sequence[TimeCurve], constants: Constants) -> list[JudgedRow]:
    times = collective_times()
    return [
        row for curve in curves for row in judged_curve(curve, times, latency_s=constants.latencies[fabric_of(curve)], rule=constants.rule)
    ]


def loss(rows: Sequence[JudgedRow]) -> float:
    weights = [WEIGHTS[row.size] for row in rows]
    return sum(weight * min(abs(math.log(1 + row.error)), MOST_ERROR) for weight, row in zip(weights, rows, strict=True)) / sum(weights)


def fitted(curves: Sequence[TimeCurve], start: Constants, tries: int) -> Constants:
    chance, best = random.Random(1), start
    least = loss(judged(curves, best))
    for number in range(tries):
        other = best.moved(STEPS[len(STEPS) * number // tries], chance)
        if (now := loss(judged(curves, other))) < least:
            best, least = other, now
    return best


def starting_constants(curves: Sequence[TimeCurve]) -> Constants:
    """Round figures that no run was looked at for, lest a fit without a source start from what that source says."""
    rule = FabricRule(nic_share=0.9, hindrance=0.1, step_s=1e-6, chunk_bytes=1e6, pipeline=1.0, pipeline_bytes=100e6)
    return Constants(rule=rule, latencies={fabric_of(curve): 30e-6 for curve in curves})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tries", type=int, default=1000, help="how many constants are tried for each fit")
    tries = parser.parse_args().tries
    curves = [curve for curve in collective_times().curves if curve.nodes > 1]
    regular = [curve for curve in curves if curve.source not in NOT_FITTED]
    everything = fitted(regular, starting_constants(curves), tries)
    print(everything, flush=True)
    rows: list[JudgedRow] = []
    for source in sorted({curve.source for curve in curves}):
        constants = fitted([curve for curve in regular if curve.source != source], starting_constants(curves), tries)
        rows += (of_source := judged([curve for curve in curves if curve.source == source], constants))
        print(
            source,
            *(f"{size}: {agreement(some)}" for size in WEIGHTS if (some := [row for row in of_source if row.size == size])),
            sep="\n  ",
        )
    print(
        "every source by the others", *(f"{size}: {agreement([row for row in rows if row.size == size])}" for size in WEIGHTS), sep="\n  "
    )


if __name__ == "__main__":
    main()
