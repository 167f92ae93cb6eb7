"""The emulations of the device: tensors on it, operators on them, and their values."""

from fakerun.emulate.device.addresses import simulated_addresses
from fakerun.emulate.device.assumed_choices import assumed_choices
from fakerun.emulate.device.cuda_checks import cuda_checks
from fakerun.emulate.device.device_arguments import device_arguments, device_arguments_of_operators
from fakerun.emulate.device.device_masquerade import device_masquerade
from fakerun.emulate.device.device_ordinals import device_ordinals, module_device_ordinals
from fakerun.emulate.device.dispatch_modes import dispatch_modes, dispatch_rules
from fakerun.emulate.device.finite_values import finite_values
from fakerun.emulate.device.foreach_types import foreach_types
from fakerun.emulate.device.forking import unsimulated_children
from fakerun.emulate.device.host_storages import real_host_storages
from fakerun.emulate.device.modules import preserved_parameter_identity
from fakerun.emulate.device.nested_tensors import jagged_tensors
from fakerun.emulate.device.pinned_memory import pinned_memory, pinned_operators
from fakerun.emulate.device.printing import cuda_repr
from fakerun.emulate.device.tensor_types import tensor_types
from fakerun.emulate.device.threads import simulated_threads
from fakerun.emulate.device.unknown_values import unknown_values
from fakerun.emulate.order import Enter, Register

HANDLERS: tuple[Register, ...] = (device_arguments, unknown_values, finite_values, assumed_choices, cuda_checks, pinned_operators)

CONTEXTS: tuple[Enter, ...] = (
    device_masquerade,
    device_arguments_of_operators,
    dispatch_modes,
    dispatch_rules,
    device_ordinals,
    module_device_ordinals,
    preserved_parameter_identity,
    real_host_storages,
    jagged_tensors,
    simulated_addresses,
    tensor_types,
    foreach_types,
    cuda_repr,
    pinned_memory,
    unsimulated_children,
    simulated_threads,
)
