"""For tests of library code: a fake world of ranks in the test's own process, traced. torch is imported once a world begins."""

from fakerun.testing.world import FakeWorld, current_world, with_dist, with_fake_comms

__all__ = ["FakeWorld", "current_world", "with_dist", "with_fake_comms"]
