"""Saving and loading: nothing of the user's is overwritten, and nothing made up is written."""
