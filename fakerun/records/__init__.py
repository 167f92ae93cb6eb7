"""What happened on a simulated rank, as plain frozen data. Torch-free; imports only the ground floor of fakerun."""
