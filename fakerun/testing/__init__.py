"""For tests of library code: one rank of a simulated world in the process of the test. torch is imported when a world begins."""

from fakerun.testing.world import FakeWorld, current_world, with_dist, with_fake_comms

__all__ = ["FakeWorld", "current_world", "with_dist", "with_fake_comms"]
