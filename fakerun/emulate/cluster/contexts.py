"""The emulations of the cluster: process groups, meshes, and what is communicated over them."""

from fakerun.emulate.cluster.c10d import c10d_operators
from fakerun.emulate.cluster.data_parallel import data_parallel
from fakerun.emulate.cluster.ddp import simulated_ddp
from fakerun.emulate.cluster.dtensor import eager_dtensor
from fakerun.emulate.cluster.foreach_sharding import deduplicated_foreach_sharding
from fakerun.emulate.cluster.fsdp import accumulated_gradients, fsdp_buffers
from fakerun.emulate.cluster.functional import functional_collectives
from fakerun.emulate.cluster.gathered_root import gathered_root
from fakerun.emulate.cluster.group_creation import observed_group_creation
from fakerun.emulate.cluster.handles import simulated_handles
from fakerun.emulate.cluster.mesh import simulated_meshes
from fakerun.emulate.cluster.non_members import reported_non_members
from fakerun.emulate.cluster.objects import simulated_objects
from fakerun.emulate.cluster.own_fake_modes import own_fake_modes
from fakerun.emulate.cluster.process_groups import simulated_process_groups
from fakerun.emulate.cluster.started_ranks import started_ranks
from fakerun.emulate.cluster.stores import simulated_stores
from fakerun.emulate.cluster.symmetric_memory import symmetric_memory
from fakerun.emulate.order import Enter, Register

HANDLERS: tuple[Register, ...] = (
    c10d_operators,
    functional_collectives,
    fsdp_buffers,
    symmetric_memory,
)

CONTEXTS: tuple[Enter, ...] = (
    simulated_process_groups,
    observed_group_creation,
    reported_non_members,
    simulated_stores,
    started_ranks,
    simulated_handles,
    simulated_objects,
    simulated_meshes,
    simulated_ddp,
    accumulated_gradients,
    gathered_root,
    eager_dtensor,
    deduplicated_foreach_sharding,
    own_fake_modes,
    data_parallel,
)
