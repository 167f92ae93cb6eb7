"""The emulations of the driver: what `torch.cuda` and `torch.accelerator` answer."""

from fakerun.emulate.driver.accelerator import accelerator_facade
from fakerun.emulate.driver.cuda import cuda_facade
from fakerun.emulate.driver.generators import accelerator_generators
from fakerun.emulate.driver.nvidia_smi import nvidia_smi
from fakerun.emulate.driver.nvml import nvml
from fakerun.emulate.driver.profilers import host_only_profilers
from fakerun.emulate.order import Enter, Precedence

CONTEXTS: tuple[Enter, ...] = (
    cuda_facade,
    accelerator_facade,
    host_only_profilers,
    accelerator_generators,
    nvml,
    nvidia_smi,
)

ORDER: tuple[Precedence, ...] = (
    Precedence(
        first=cuda_facade,
        then=accelerator_facade,
        reason="torch.accelerator answers with the functions that torch.cuda has when the facade of torch.accelerator is entered; those of "
        "the build look for a driver",
    ),
)
