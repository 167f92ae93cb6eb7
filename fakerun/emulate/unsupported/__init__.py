"""Errors that the script gets: CUDA's, with CUDA's messages, and gaps, for what fakerun does not emulate."""
