"""The emulations of the device: tensors that are said to be on it, operators on them, and their values."""

from fakerun.emulate.device.addresses import simulated_addresses
from fakerun.emulate.device.assumed_choices import assumed_choices
from fakerun.emulate.device.device_masquerade import device_masquerade
from fakerun.emulate.device.finite_values import finite_values
from fakerun.emulate.device.forking import children_run_outside
from fakerun.emulate.device.host_storages import host_storages_are_real
from fakerun.emulate.device.modules import ordinals_are_devices, parameters_keep_identity
from fakerun.emulate.device.nested_tensors import jagged_tensors
from fakerun.emulate.device.printing import printed_as_cuda
from fakerun.emulate.device.tensor_types import tensor_types
from fakerun.emulate.device.threads import threads_run_inside
from fakerun.emulate.device.unknown_values import unknown_values
from fakerun.emulate.order import Enter, Register

HANDLERS: tuple[Register, ...] = (
    unknown_values,
    finite_values,
    assumed_choices,
)

CONTEXTS: tuple[Enter, ...] = (
    device_masquerade,
    ordinals_are_devices,
    parameters_keep_identity,
    host_storages_are_real,
    jagged_tensors,
    simulated_addresses,
    tensor_types,
    printed_as_cuda,
    children_run_outside,
    threads_run_inside,
)
