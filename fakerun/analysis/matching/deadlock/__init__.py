"""Ranks that wait for each other although their calls match: `cycles` in the wait-for graph, `order_inversion` that may become a cycle."""
