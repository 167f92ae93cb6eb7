"""The emulations of kernels: operators that behave differently on a GPU than torch's meta kernels."""

from fakerun.emulate.kernels.attention import simulated_attention
from fakerun.emulate.kernels.autocast import simulated_autocast
from fakerun.emulate.kernels.compilation import eager_compile
from fakerun.emulate.kernels.composed_norm import composed_norm
from fakerun.emulate.kernels.control_flow import python_control_flow
from fakerun.emulate.kernels.flex_attention import fused_flex_attention
from fakerun.emulate.kernels.fused_kernels import fused_kernels
from fakerun.emulate.kernels.grad_scaler import finite_gradients
from fakerun.emulate.kernels.gradients_in_place import gradients_in_place
from fakerun.emulate.kernels.initialisation import accepted_samples
from fakerun.emulate.kernels.recurrent import unfused_rnns
from fakerun.emulate.kernels.shape_rules import shape_rules
from fakerun.emulate.kernels.synchronised_batch_norm import sync_batch_norm_kernels
from fakerun.emulate.kernels.triton_kernels import skipped_triton_kernels
from fakerun.emulate.order import Enter, Register

HANDLERS: tuple[Register, ...] = (
    sync_batch_norm_kernels,
    shape_rules,
    gradients_in_place,
    composed_norm,
)

CONTEXTS: tuple[Enter, ...] = (
    fused_kernels,
    simulated_autocast,
    simulated_attention,
    finite_gradients,
    eager_compile,
    fused_flex_attention,
    unfused_rnns,
    python_control_flow,
    skipped_triton_kernels,
    accepted_samples,
)
