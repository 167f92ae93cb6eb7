"""Changes what the script sees: an accelerator, a driver, a cluster. Reversible: one context manager for each thing changed."""
