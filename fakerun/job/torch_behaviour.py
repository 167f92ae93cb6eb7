"""TorchBehaviour: the behaviour of an older torch, where it is known to need another amount of memory than the one that runs.

Read in the releases themselves, 2.5.1 to 2.9.0: `_lazy_init` of torch/distributed/fsdp/_fully_shard/_fsdp_state.py (2.5:
torch/distributed/_composable/fsdp/_fsdp_state.py), and what `rms_norm` of aten/src/ATen/native/layer_norm.cpp calls in their builds.
"""

from enum import StrEnum

from fakerun.job.choice import choice_named


class TorchBehaviour(StrEnum):
    """A release of torch that behaves otherwise; from 2.9 on none of the known differences is left."""

    V2_5 = "2.5"
    """FSDP2's root stays gathered after forward; rms_norm is composed of operators in the dtype of its input."""

    V2_6 = "2.6"
    """The root stays gathered; rms_norm is composed of float32 operators, and cast back before it is multiplied by the weight."""

    V2_7 = "2.7"
    """The root stays gathered; rms_norm is composed of float32 operators, and cast back last (github.com/pytorch/pytorch/pull/147203)."""

    V2_8 = "2.8"
    """rms_norm is composed as in 2.7. It is one kernel from 2.9 on (github.com/pytorch/pytorch/pull/153666)."""

    @property
    def root_stays_gathered(self) -> bool:
        """Whether FSDP2 keeps the root's parameters after forward, whatever `reshard_after_forward` says.

        Until github.com/pytorch/pytorch/pull/154704.
        """
        return self is not TorchBehaviour.V2_8


def torch_behaviour_named(name: str) -> TorchBehaviour:
    """The behaviour of this release.

    Raises:
        UsageError: it is not known to differ.
    """
    return choice_named(TorchBehaviour, "torch behaviour", name)
