"""The simulation in this process."""

from tests.in_process import no_workspaces, shared_simulation, simulate, simulation

__all__ = ["no_workspaces", "shared_simulation", "simulate", "simulation"]
