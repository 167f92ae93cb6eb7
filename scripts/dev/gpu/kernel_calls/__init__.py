"""Calls whose requests to the caching allocator are measured on a GPU and predicted by fakerun, one subject a module.

Each is declared as data: what is called, with which arguments, and whether backward follows. They need torch only.
"""
