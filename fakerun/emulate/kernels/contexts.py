"""The emulations of kernels: operators of which torch's meta kernels do not tell what a GPU would do."""

from fakerun.emulate.kernels.attention import simulated_attention
from fakerun.emulate.kernels.autocast import simulated_autocast
from fakerun.emulate.kernels.compilation import eager_compile
from fakerun.emulate.kernels.control_flow import control_flow_in_python
from fakerun.emulate.kernels.flex_attention import fused_flex_attention
from fakerun.emulate.kernels.fused_kernels import fused_kernels
from fakerun.emulate.kernels.grad_scaler import gradients_are_finite
from fakerun.emulate.kernels.initialisation import samples_are_accepted
from fakerun.emulate.kernels.recurrent import recurrence_in_steps
from fakerun.emulate.kernels.shape_rules import shape_rules
from fakerun.emulate.kernels.synchronised_batch_norm import simulate_batch_norm
from fakerun.emulate.kernels.triton_kernels import launched_triton_kernels
from fakerun.emulate.order import Enter, Register

HANDLERS: tuple[Register, ...] = (
    simulate_batch_norm,
    shape_rules,
)

CONTEXTS: tuple[Enter, ...] = (
    fused_kernels,
    simulated_autocast,
    simulated_attention,
    gradients_are_finite,
    eager_compile,
    fused_flex_attention,
    recurrence_in_steps,
    control_flow_in_python,
    launched_triton_kernels,
    samples_are_accepted,
)
