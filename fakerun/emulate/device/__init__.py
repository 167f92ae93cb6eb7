"""The simulated accelerator's tensors: where they live, how operators on them are answered, which of their values are known."""
