"""Fails after it has read a value that was not computed: because of it, or not, as its argument says."""

import sys

import torch

loss = torch.randn(8, device="cuda").sum().item()
if sys.argv[1] == "because":
    history = [loss, 2 * loss]
    if max(history) > 1.5:
        sys.exit("the loss grows")
else:
    table: dict[str, int] = {}
    print(table["missing"])
