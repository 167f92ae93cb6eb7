"""The emulation of one rank: everything that the script is made to see, put together."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from fakerun.emulate.accelerator import accelerator_facade
from fakerun.emulate.addresses import simulated_addresses
from fakerun.emulate.attention import simulated_attention
from fakerun.emulate.autocast import simulated_autocast
from fakerun.emulate.communication import Communication
from fakerun.emulate.compilation import eager_compile
from fakerun.emulate.cuda import cuda_facade
from fakerun.emulate.ddp import simulated_ddp
from fakerun.emulate.device_arguments import DeviceArguments, ordinals_are_devices
from fakerun.emulate.devices import Devices
from fakerun.emulate.dtensor import eager_dtensor
from fakerun.emulate.forking import children_run_outside
from fakerun.emulate.fsdp import FsdpBuffers
from fakerun.emulate.fused_kernels import fused_kernels
from fakerun.emulate.gaps import other_gaps
from fakerun.emulate.generators import accelerator_generators
from fakerun.emulate.grad_scaler import gradients_are_finite
from fakerun.emulate.host_storages import host_storages_are_real
from fakerun.emulate.initialisation import samples_are_accepted
from fakerun.emulate.masquerade import device_masquerade
from fakerun.emulate.mesh import simulated_meshes
from fakerun.emulate.mode import DeviceMode, HostPolicy
from fakerun.emulate.modules import parameters_keep_identity
from fakerun.emulate.printing import printed_as_cuda
from fakerun.emulate.process_groups import simulated_process_groups
from fakerun.emulate.recurrent import recurrence_in_steps
from fakerun.emulate.refusals import refuse_as_cuda_does
from fakerun.emulate.saving import simulated_saving
from fakerun.emulate.sharded_checkpoints import simulated_sharded_checkpoints
from fakerun.emulate.simulation_log import failed_kernels_unlogged
from fakerun.emulate.streams import StreamTable
from fakerun.emulate.synchronised_batch_norm import simulate_batch_norm
from fakerun.emulate.tensor_types import tensor_types
from fakerun.emulate.values import UnknownValues
from fakerun.job.spec import JobSpec
from fakerun.records.observer import FindingSink, MemoryStatistics, OperationObserver


@contextmanager
def emulation(job: JobSpec, rank: int, observer: OperationObserver, findings: FindingSink, statistics: MemoryStatistics) -> Iterator[None]:
    """Make this process look like rank `rank` of `job` on its hardware. Everything is put back when the context ends."""
    devices = Devices(job.nproc_per_node)
    streams = StreamTable(devices)
    mode = DeviceMode(devices, observer, HostPolicy())
    arguments = DeviceArguments(devices)
    Communication(mode, observer)
    FsdpBuffers(mode, observer)
    values = UnknownValues(mode, findings)
    simulate_batch_norm(mode)
    refuse_as_cuda_does(mode, arguments)
    with ExitStack() as stack:
        for context in (
            device_masquerade(mode),
            cuda_facade(devices, job.hardware, statistics, streams),
            accelerator_facade(devices, streams),
            fused_kernels(),
            simulated_autocast(),
            simulated_attention(mode, job.hardware.compute_capability),
            ordinals_are_devices(),
            parameters_keep_identity(),
            eager_dtensor(mode),
            gradients_are_finite(),
            eager_compile(findings),
            recurrence_in_steps(findings),
            host_storages_are_real(),
            simulated_addresses(),
            accelerator_generators(devices),
            tensor_types(),
            printed_as_cuda(values.to_show),
            samples_are_accepted(values.unnoted),
            simulated_saving(findings, lambda: values.made_up),
            simulated_sharded_checkpoints(findings),
            simulated_process_groups(rank, job.world_size, observer),
            simulated_meshes(job.mesh, rank, observer, findings),
            simulated_ddp(),
            other_gaps(),
            failed_kernels_unlogged(),
            children_run_outside(mode, arguments),
            mode,
            arguments,
        ):
            stack.enter_context(context)
        yield
