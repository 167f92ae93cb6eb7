"""The emulations of saving and loading."""

from fakerun.emulate.checkpoints.file_functions import overlaid_files
from fakerun.emulate.checkpoints.flat_optimizer_state import flat_optimizer_state
from fakerun.emulate.checkpoints.pickling import simulated_pickling
from fakerun.emulate.checkpoints.safetensors_files import simulated_safetensors
from fakerun.emulate.checkpoints.saving import simulated_saving
from fakerun.emulate.checkpoints.sharded_checkpoints import simulated_sharded_checkpoints
from fakerun.emulate.order import Enter

CONTEXTS: tuple[Enter, ...] = (
    overlaid_files,
    simulated_saving,
    simulated_safetensors,
    simulated_pickling,
    simulated_sharded_checkpoints,
    flat_optimizer_state,
)
