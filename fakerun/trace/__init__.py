"""Observes what the script does, and never changes it: collectives, memory, modules, phases, steps, lines."""
