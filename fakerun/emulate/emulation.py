"""The emulation of one rank: everything that the script is made to see, put together."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

from fakerun.emulate.checkpoints.flat_optimizer_state import flat_optimizer_state
from fakerun.emulate.checkpoints.pickling import simulated_pickling
from fakerun.emulate.checkpoints.saving import simulated_saving
from fakerun.emulate.checkpoints.sharded_checkpoints import simulated_sharded_checkpoints
from fakerun.emulate.cluster import c10d, functional
from fakerun.emulate.cluster.communication import Communication
from fakerun.emulate.cluster.ddp import simulated_ddp
from fakerun.emulate.cluster.dtensor import eager_dtensor
from fakerun.emulate.cluster.foreach_sharding import foreach_sharding_by_distinct_element
from fakerun.emulate.cluster.fsdp import accumulated_gradients, report_fsdp_buffers
from fakerun.emulate.cluster.handles import Handles, simulated_handles
from fakerun.emulate.cluster.mesh import simulated_meshes
from fakerun.emulate.cluster.new_groups import new_groups_are_told
from fakerun.emulate.cluster.non_members import non_members_are_told
from fakerun.emulate.cluster.objects import simulated_objects
from fakerun.emulate.cluster.peers import PeerValues
from fakerun.emulate.cluster.process_groups import simulated_process_groups
from fakerun.emulate.cluster.stores import simulated_stores
from fakerun.emulate.cluster.symmetric_memory import symmetric_memory
from fakerun.emulate.device.addresses import simulated_addresses
from fakerun.emulate.device.assumed_choices import AssumedChoices
from fakerun.emulate.device.device_arguments import DeviceArguments, ordinals_are_devices
from fakerun.emulate.device.devices import Devices
from fakerun.emulate.device.finite import FiniteValues
from fakerun.emulate.device.host_policy import HostPolicy
from fakerun.emulate.device.host_storages import host_storages_are_real
from fakerun.emulate.device.masquerade import device_masquerade
from fakerun.emulate.device.mode import DeviceMode
from fakerun.emulate.device.modules import parameters_keep_identity
from fakerun.emulate.device.nested_tensors import jagged_tensors
from fakerun.emulate.device.printing import printed_as_cuda
from fakerun.emulate.device.tensor_types import tensor_types
from fakerun.emulate.device.values import UnknownValues
from fakerun.emulate.driver.accelerator import accelerator_facade
from fakerun.emulate.driver.cuda import cuda_facade
from fakerun.emulate.driver.generators import accelerator_generators
from fakerun.emulate.driver.profilers import host_only_profilers
from fakerun.emulate.driver.streams import StreamTable
from fakerun.emulate.forking import children_run_outside
from fakerun.emulate.kernels.attention import simulated_attention
from fakerun.emulate.kernels.autocast import simulated_autocast
from fakerun.emulate.kernels.compilation import Compilation, eager_compile
from fakerun.emulate.kernels.control_flow import control_flow_in_python
from fakerun.emulate.kernels.flex_attention import fused_flex_attention
from fakerun.emulate.kernels.fused_kernels import fused_kernels
from fakerun.emulate.kernels.grad_scaler import gradients_are_finite
from fakerun.emulate.kernels.initialisation import samples_are_accepted
from fakerun.emulate.kernels.recurrent import recurrence_in_steps
from fakerun.emulate.kernels.shape_rules import shape_rules
from fakerun.emulate.kernels.synchronised_batch_norm import simulate_batch_norm
from fakerun.emulate.kernels.triton_kernels import launched_triton_kernels
from fakerun.emulate.refusals.gaps import missing_apis
from fakerun.emulate.refusals.refused import refuse_as_cuda_does
from fakerun.emulate.refusals.simulation_log import failed_kernels_unlogged
from fakerun.emulate.threads import threads_run_inside
from fakerun.job.spec import JobSpec
from fakerun.records.mailbox import Mailbox
from fakerun.records.observer import FindingSink, MemoryStatistics, OperationObserver


@contextmanager
def emulation(
    job: JobSpec, rank: int, mailbox: Mailbox, observer: OperationObserver, findings: FindingSink, statistics: MemoryStatistics
) -> Iterator[None]:
    """Make this process look like rank `rank` of `job` on its hardware. Everything is put back when the context ends."""
    devices = Devices(job.nproc_per_node)
    streams = StreamTable(devices)
    mode = DeviceMode(devices, observer, HostPolicy())
    arguments = DeviceArguments(devices)
    values = UnknownValues(mode, findings, job.routing)
    compilation = Compilation(findings)
    handles = Handles(observer)
    communication = Communication(mode, observer, handles, PeerValues(mode, values, handles, mailbox, job.ranks, findings), findings)
    _answer_communication(communication)
    report_fsdp_buffers(mode, observer)
    FiniteValues(arguments, mode.known, findings)
    AssumedChoices(mode, job.routing)
    symmetric_memory(mode, findings)
    _answer_kernels(mode, arguments)
    with ExitStack() as stack:
        for context in (
            device_masquerade(mode),
            cuda_facade(devices, job.hardware, statistics, streams, observer, findings),
            accelerator_facade(devices, streams),
            host_only_profilers(findings),
            fused_kernels(),
            simulated_autocast(),
            simulated_attention(mode, job.hardware.compute_capability),
            ordinals_are_devices(),
            parameters_keep_identity(mode),
            eager_dtensor(mode),
            foreach_sharding_by_distinct_element(),
            gradients_are_finite(),
            eager_compile(compilation),
            fused_flex_attention(mode, compilation, findings),
            recurrence_in_steps(findings),
            control_flow_in_python(),
            launched_triton_kernels(mode, job.hardware, findings),
            host_storages_are_real(),
            jagged_tensors(),
            simulated_addresses(),
            accelerator_generators(devices),
            tensor_types(),
            printed_as_cuda(values.to_show),
            samples_are_accepted(values.unnoted, observer, findings),
            simulated_saving(findings, lambda: values.made_up),
            simulated_pickling(findings, mode.known.of),
            simulated_sharded_checkpoints(findings),
            flat_optimizer_state(job.ranks),
            simulated_process_groups(rank, job.world_size, observer, findings),
            new_groups_are_told(observer),
            non_members_are_told(findings),
            simulated_stores(findings),
            simulated_handles(handles),
            simulated_objects(communication, findings),
            simulated_meshes(job.mesh, rank, observer, findings),
            simulated_ddp(),
            accumulated_gradients(observer),
            missing_apis(findings),
            failed_kernels_unlogged(),
            children_run_outside(mode, arguments),
            threads_run_inside(mode, arguments),
            mode,
            arguments,
        ):
            stack.enter_context(context)
        yield


def _answer_communication(communication: Communication) -> None:
    """Who answers the operators that communicate."""
    communication.answer(torch.ops.c10d, c10d.ANSWERS)
    communication.answer(torch.ops._c10d_functional, functional.ANSWERS)
    communication.answer(torch.ops._dtensor, functional.DTENSOR_ANSWERS)


def _answer_kernels(mode: DeviceMode, arguments: DeviceArguments) -> None:
    """Who answers operators of which torch's meta kernels do not tell what a GPU would do."""
    simulate_batch_norm(mode)
    shape_rules(mode, arguments)
    refuse_as_cuda_does(mode, arguments)
