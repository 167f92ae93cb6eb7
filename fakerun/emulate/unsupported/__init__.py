"""What the script is told when something cannot be done: by CUDA, in its words, or by fakerun, as a gap."""
