"""The cases: every class of bugs that the verdict covers, publicly reported bugs, and correct programs that resemble bugs."""

from fakerun.errors import ExitCode
from fakerun.records.finding_code import FindingCode, Severity
from tests.matching.case import Bug, Report

ALL_RANKS = (0, 1, 2, 3)

BUGS = (
    Bug(name="missing_collective", world_size=4, code=FindingCode.MISSING_COLLECTIVE, ranks=(2,), says=("int64[]",)),
    Bug(name="extra_collective", world_size=4, code=FindingCode.EXTRA_COLLECTIVE, ranks=(0,)),
    Bug(name="other_operation", world_size=4, code=FindingCode.OPERATION_MISMATCH, ranks=(0,), says=("calls all_reduce", "call reduce")),
    Bug(name="swapped_order", world_size=4, code=FindingCode.SWAPPED_COLLECTIVES, ranks=(1,), says=("float32[4]", "float32[8]")),
    Bug(name="size", world_size=4, code=FindingCode.SIZE_MISMATCH, ranks=(3,), says=("float32[5,4]", "float32[8,4]")),
    Bug(name="dtype", world_size=4, code=FindingCode.DTYPE_MISMATCH, ranks=(0,), says=("float32", "bfloat16")),
    Bug(name="reduce_op", world_size=4, code=FindingCode.REDUCE_OP_MISMATCH, ranks=(2,), says=("max",)),
    Bug(name="root", world_size=4, code=FindingCode.ROOT_MISMATCH, ranks=(2,), says=("root 1", "root 2")),
    Bug(
        name="splits",
        world_size=4,
        code=FindingCode.SPLITS_MISMATCH,
        ranks=(2, 3),
        says=("rank 2 sends 64 elements to rank 3", "expects 80"),
    ),
    Bug(name="send_without_recv", world_size=2, code=FindingCode.SEND_WITHOUT_RECV, ranks=(0, 1), says=("message #3",)),
    Bug(name="recv_without_send", world_size=2, code=FindingCode.RECV_WITHOUT_SEND, ranks=(0, 1), says=("message #1",)),
    Bug(name="message_size", world_size=2, code=FindingCode.SIZE_MISMATCH, ranks=(0, 1), says=("1536", "2048")),
    Bug(name="message_dtype", world_size=2, code=FindingCode.DTYPE_MISMATCH, ranks=(0, 1), says=("bfloat16", "float32")),
    Bug(name="send_recv_cycle", world_size=4, code=FindingCode.DEADLOCK, ranks=ALL_RANKS, says=("send", "to rank 1")),
    Bug(name="cross_group_cycle", world_size=4, code=FindingCode.DEADLOCK, ranks=ALL_RANKS, says=("all_reduce",)),
    Bug(
        name="group_order",
        world_size=2,
        code=FindingCode.ORDER_INVERSION,
        ranks=(0, 1),
        severity=Severity.WARNING,
        status=ExitCode.OK,
    ),
    Bug(name="new_groups", world_size=4, code=FindingCode.GROUP_MISMATCH, ranks=(3,)),
    Bug(name="non_member", world_size=4, code=FindingCode.NON_MEMBER, ranks=(2, 3), severity=Severity.WARNING, status=ExitCode.OK),
    Bug(name="uneven_steps", world_size=4, code=FindingCode.UNEVEN_STEPS, ranks=(3,), says=("3 steps", "the others 4")),
    Bug(
        name="different_lines", world_size=4, code=FindingCode.CALL_SITE_MISMATCH, ranks=(0,), severity=Severity.WARNING, status=ExitCode.OK
    ),
    Bug(name="never_waited", world_size=2, code=FindingCode.NEVER_WAITED, ranks=(0, 1), severity=Severity.WARNING, status=ExitCode.OK),
    Bug(
        name="lone_evaluation",
        world_size=4,
        code=FindingCode.EXTRA_COLLECTIVE,
        ranks=(0,),
        says=("2 extra collectives", "float32[16]", "int32[5]"),
        blocked=(1, 2, 3),
    ),
    Bug(name="cpu_tensor", world_size=2, code=FindingCode.CPU_TENSOR, ranks=(0, 1), status=ExitCode.SCRIPT_FAILED),
    Bug(name="early_end", world_size=4, code=FindingCode.EARLY_EXIT, ranks=(1,), status=ExitCode.SCRIPT_FAILED),
)

REPORTS = (
    Report(
        name="pytorch_77562",
        at="pytorch/pytorch/issues/77562",
        world_size=4,
        code=FindingCode.EXTRA_COLLECTIVE,
        ranks=(0,),
        says=("all_gather_into_tensor",),
    ),
    Report(
        name="accelerate_3982",
        at="huggingface/accelerate/pull/3982",
        world_size=4,
        code=FindingCode.EXTRA_COLLECTIVE,
        ranks=(0,),
        says=("float32[8]", "float32[8,16]"),
        besides=frozenset({"call-site-mismatch"}),
    ),
    Report(
        name="verl_6365",
        at="verl-project/verl/issues/6365",
        world_size=4,
        code=FindingCode.SWAPPED_COLLECTIVES,
        ranks=(2,),
        says=("float32[64]", "float32[128]"),
    ),
    Report(
        name="deepspeed_7461",
        at="deepspeedai/DeepSpeed/issues/7461",
        world_size=4,
        code=FindingCode.MISSING_COLLECTIVE,
        ranks=(2,),
        says=("all_gather_into_tensor",),
    ),
    Report(name="pytorch_25390", at="pytorch/pytorch/issues/25390", world_size=4, code=FindingCode.GROUP_MISMATCH, ranks=ALL_RANKS),
    Report(name="nccl_479", at="NVIDIA/nccl/issues/479", world_size=2, code=FindingCode.DEADLOCK, ranks=(0, 1), says=("send", "to rank 1")),
    Report(
        name="pippy_969", at="pytorch/PiPPy/issues/969", world_size=3, code=FindingCode.DEADLOCK, ranks=(0, 1, 2), says=("send", "recv")
    ),
    Report(
        name="torchrec_4149",
        at="meta-pytorch/torchrec/pull/4149",
        world_size=4,
        code=FindingCode.ORDER_INVERSION,
        ranks=(3,),
        severity=Severity.WARNING,
        status=ExitCode.OK,
    ),
    Report(
        name="composer_3415",
        at="mosaicml/composer/issues/3415",
        world_size=2,
        code=FindingCode.UNEVEN_STEPS,
        ranks=(0,),
        says=("5 steps", "the others 6"),
    ),
    Report(
        name="pytorch_39706",
        at="pytorch/pytorch/issues/39706",
        world_size=2,
        code=FindingCode.ROOT_MISMATCH,
        ranks=(1,),
        says=("root 0", "root 1"),
        no_majority=True,
    ),
    Report(
        name="pytorch_44957",
        at="pytorch/pytorch/issues/44957",
        world_size=4,
        code=FindingCode.MISSING_COLLECTIVE,
        ranks=(1,),
        says=("float32[33]",),
    ),
    Report(
        name="autocast_386",
        at="alan-turing-institute/autocast/pull/386",
        world_size=4,
        code=FindingCode.EXTRA_COLLECTIVE,
        ranks=(0,),
        says=("barrier",),
    ),
    Report(
        name="lightning_19106",
        at="Lightning-AI/pytorch-lightning/issues/19106",
        world_size=4,
        code=FindingCode.MISSING_COLLECTIVE,
        ranks=(2,),
        says=("float32[]",),
    ),
    Report(
        name="colossalai_1175",
        at="hpcaitech/ColossalAI/pull/1175",
        world_size=4,
        code=FindingCode.UNEVEN_STEPS,
        ranks=(2,),
        says=("2 steps", "the others 3"),
    ),
    Report(
        name="automodel_2468",
        at="NVIDIA-NeMo/Automodel/pull/2468",
        world_size=4,
        code=FindingCode.UNEVEN_STEPS,
        ranks=(1,),
        says=("2 steps", "the others 3"),
    ),
)

LEGAL = ("equal_counts", "list_and_tensor", "messages_both_ways", "own_steps", "uneven_all_to_all")
"""Programs of four ranks."""
