"""The simulation in this process."""

from tests.in_process import shared_simulation, simulate, simulation

__all__ = ["shared_simulation", "simulate", "simulation"]
