"""The cases, and the formulas of their memory, in the sizes that the programs name: bytes of an element x elements.

Every block is a multiple of 512 bytes, the allocator's granularity, except where a formula says so.
"""

from fakerun.records.collective import Phase
from fakerun.records.finding_code import FindingCode
from fakerun.records.memory import ALLOCATION_GRANULARITY_BYTES, Category
from tests.memory_reports.case import Figure, Held, Report

FLOAT32, BFLOAT16 = 4, 2


def _weights(layers: int, width: int) -> int:
    """The elements of square layers."""
    return layers * width * width


def _activations(tensors: int, *, tokens: int = 131072, width: int = 1024) -> int:
    """Besides the hidden states there are the loss and its gradient, which are numbers."""
    return BFLOAT16 * tensors * tokens * width + 2 * ALLOCATION_GRANULARITY_BYTES


def _adam(layers: int, width: int) -> int:
    """Two moments for each weight, and for each layer a tensor with the number of the step."""
    return FLOAT32 * 2 * _weights(layers, width) + ALLOCATION_GRANULARITY_BYTES * layers


REPORTS = (
    Report(
        name="verl_7458",
        at="verl-project/verl/pull/7458",
        world_size=4,
        held=Held(category=Category.GRADIENT),
        bug_bytes=FLOAT32 * _weights(4, 256),
        fixed_bytes=FLOAT32 * _weights(4, 256) // 4,
        figure=Figure(says="1024.0 KiB of accumulated gradients on each of 4 ranks, for 262,144 parameters", nbytes=1024 * 2**10),
    ),
    Report(
        name="accelerate_4172",
        at="huggingface/accelerate/pull/4172",
        world_size=2,
        held=Held(category=Category.ACTIVATION, phase=Phase.FORWARD),
        # The first tensor of the first layer is the model's input; what the last layer returns is not kept.
        bug_bytes=_activations(4 * 28 - 1),
        fixed_bytes=_activations(28 - 1),
        figure=Figure(says="29 GB of the peak of Qwen3-0.6B at 131K tokens pass between parts of layers", nbytes=29e9, within=0.03),
    ),
    Report(
        name="composer_1941",
        at="mosaicml/composer/pull/1941",
        world_size=2,
        held=Held(category=Category.PARAMETER),
        bug_bytes=FLOAT32 * 3 * _weights(8, 4096),
        fixed_bytes=FLOAT32 * 2 * _weights(8, 4096),
    ),
    Report(
        name="transformers_46113",
        at="huggingface/transformers/pull/46113",
        world_size=4,
        held=Held(category=Category.COMMUNICATION, phase=Phase.OTHER),
        bug_bytes=BFLOAT16 * _weights(28, 32768),
        fixed_bytes=0,
        figure=Figure(says="about 60 GB per rank for 30B parameters, however they are sharded", nbytes=60e9, within=0.01),
        finding=FindingCode.DOES_NOT_FIT,
    ),
    Report(
        name="transformers_3730",
        at="huggingface/transformers/issues/3730",
        world_size=8,
        held=Held(category=Category.OPTIMIZER_STATE, rank=7, cuda_index=0),
        bug_bytes=_adam(46, 4096),
        fixed_bytes=0,
        hardware="a100-40gb",
        finding=FindingCode.DOES_NOT_FIT,
    ),
    Report(
        name="mmsegmentation_3183",
        at="open-mmlab/mmsegmentation/issues/3183",
        world_size=2,
        held=Held(category=Category.PARAMETER, rank=1, cuda_index=0),
        bug_bytes=FLOAT32 * _weights(6, 4096),
        fixed_bytes=0,
        finding=FindingCode.OTHER_RANKS_GPU,
    ),
)
