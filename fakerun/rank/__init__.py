"""One simulated rank: the script, run as torchrun would run it, inside the simulation, and the record of what it did."""
