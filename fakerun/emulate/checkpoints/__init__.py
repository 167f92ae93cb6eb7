"""Saving and loading: no file of the user's is overwritten, and no placeholder values are written."""
