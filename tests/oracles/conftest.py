"""The simulation in this process, and results of the whole test run."""

from tests.in_process import shared_simulation, simulate, simulation
from tests.shared_results import shared_results

__all__ = ["shared_results", "shared_simulation", "simulate", "simulation"]
