"""Analyses of the records: pure functions without torch or side effects. What the user should know is returned as a Finding."""
