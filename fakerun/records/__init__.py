"""What happened on a simulated rank, as plain frozen data. Torch-free; imports nothing of fakerun but `units` and `errors`."""
