"""The real torchrun, except that its workers are forked from it: torch is imported once and not by each of them.

python -m tests.oracles.torchrun_that_forks --nproc-per-node 4 SCRIPT ARGUMENT...
"""

import gc
import importlib
import sys
import weakref

from torch.distributed.run import main

PRELOADED = (
    "torch._dynamo",
    "torch.distributed.checkpoint",
    "torch.distributed.fsdp",
    "torch.distributed.optim",
    "torch.distributed.pipelining",
    "torch.distributed.tensor.experimental",
    "torch.distributed.tensor.parallel",
    "torch.nn.attention.flex_attention",
    "torch.nn.parallel",
    "torch.utils.checkpoint",
    "torch.utils.data",
)
"""What programs import, here once for all. None of it starts a thread, which a fork would lose."""


def preload() -> None:
    for module in PRELOADED:
        importlib.import_module(module)
    for finalizer in tuple(weakref.finalize._registry):  # type: ignore[attr-defined]
        finalizer.atexit = False  # of torch's libraries of operators: they would be unregistered at the end of each process, in 45 ms
    gc.collect()
    gc.freeze()  # so that children do not copy what they would only look at


if __name__ == "__main__":
    preload()
    main(["--standalone", "--start-method", "fork", "--run-path", *sys.argv[1:]])
