"""The `fakerun` command: one file per subcommand, over the same functions that a program can call. Torch-free."""
