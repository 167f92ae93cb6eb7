"""FindingCode: every kind of finding, with its severity, its meaning and the way out. `docs/findings.md` is written from it."""

from collections.abc import Iterable
from enum import StrEnum

from fakerun.errors import UsageError
from fakerun.spelling import did_you_mean


class Severity(StrEnum):
    """An error makes the command exit with 1, with --strict a warning too; a note never. The most severe comes first."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


class RecorderVerdict(StrEnum):
    """What torch's flight-recorder analyser says of one collective: its `MatchState`, and two statements that have no state.

    Source: torch/distributed/flight_recorder/components/types.py, torch 2.13 and 2.15.
    """

    TYPE = "COLLECTIVE_TYPE_MISMATCH"
    SIZE = "SIZE_OR_SYNTAX_MISMATCH"
    DTYPE = "COLLECTIVE_DTYPE_MISMATCH"
    STATE = "COLLECTIVE_STATE_MISMATCH"
    NOT_ALL_JOINING = "not all ranks joining"
    MESSAGES_DIFFER = "mismatched p2p operations"


class FindingCode(StrEnum):
    """A code is a stable kebab-case identifier in reports, job files and SARIF rules; logic compares members, never their text.

    `title` is a noun phrase, `meaning` says what was found, `way_out` what to do about it. `verdicts` are those that the analyser may
    give of the dump of such a run; empty where it sees nothing, or where no collective is concerned.
    """

    severity: Severity
    title: str  # type: ignore[assignment]  # str has a method of this name; a title is what SARIF and the docs need
    meaning: str
    way_out: str
    verdicts: tuple[RecorderVerdict, ...]

    def __new__(
        cls,
        code: str,
        severity: Severity = Severity.NOTE,
        title: str = "",
        meaning: str = "",
        way_out: str = "",
        verdicts: tuple[RecorderVerdict, ...] = (),
    ) -> "FindingCode":
        """The defaults are for type checkers, to which `FindingCode("deadlock")` is this call; no member uses them (a test sees to it)."""
        member = str.__new__(cls, code)
        member._value_ = code
        member.severity = severity
        member.title = title
        member.meaning = meaning
        member.way_out = way_out
        member.verdicts = verdicts
        return member

    # -- memory ----------------------------------------------------------------------------------------------------------------------

    DOES_NOT_FIT = (
        "does-not-fit",
        Severity.ERROR,
        "Out of memory",
        "What ranks need of one GPU is above what the GPU has, even if the caching allocator gives back all that it caches.",
        "Shard over more ranks, checkpoint activations, use smaller batches, or choose hardware with more memory. The report lists what is "
        "alive at the peak.",
    )
    TIGHT_FIT = (
        "tight-fit",
        Severity.WARNING,
        "Fits narrowly",
        "What the caching allocator reserves, with what is held outside it, may be above what the GPU has: what is outside (the CUDA "
        "context, buffers of NCCL) is a range, and so are workspaces that libraries choose. Or the job runs only because the allocator "
        "gives back what it caches and asks again, for which the GPU must be idle. Or the last step kept tensors beside those of the step "
        "before: after enough such steps no GPU has enough.",
        "Try --alloc-conf expandable_segments:True; or need less, as for does-not-fit. Where steps keep tensors, look for a list of losses "
        "that are not detached; --steps 4 tells what is made once in the second step (an average of weights) from what each step keeps.",
    )
    ALLOC_CONF = (
        "alloc-conf",
        Severity.ERROR,
        "Settings of the allocator that torch refuses",
        "PYTORCH_ALLOC_CONF or PYTORCH_CUDA_ALLOC_CONF has a text that torch refuses at the first use of a GPU.",
        "Correct the text. The message is torch's.",
    )
    OTHER_ALLOCATOR = (
        "other-allocator",
        Severity.NOTE,
        "Another allocator",
        "The script selects CUDA's asynchronous allocator. Its memory is not simulated: the report tells what torch's own allocator "
        "reserves. On an H200 it reserved 4 % and 13 % more than that in two random programs.",
        "Remove backend:cudaMallocAsync to run with the allocator that is simulated.",
    )
    OVER_BUDGET = (
        "over-budget",
        Severity.ERROR,
        "Over budget",
        "The run needs more memory, or communicates more, than a budget allows: --max-memory, or one of a job file.",
        "Look at what is alive at the peak, or at the calls; or change the budget, if the growth is meant.",
    )
    UNVERIFIED_BUDGET = (
        "unverified-budget",
        Severity.ERROR,
        "Budget that cannot be verified",
        "Whether the run keeps a budget is not known: ranks that it is about failed or were not simulated, or what it limits is only known "
        "to be in a range in which the limit lies.",
        "Simulate the ranks that are missing (--ranks auto, or all); or choose a limit outside the range, restrict the budget to what is "
        "known, or allow ranks-assumed or tight-fit.",
    )
    DUPLICATE_GPU = (
        "duplicate-gpu",
        Severity.ERROR,
        "Two ranks of one communicator on one GPU",
        "Two ranks of one node issue a collective of one process group on the same CUDA device. NCCL refuses to make the communicator.",
        "Call torch.cuda.set_device(int(os.environ['LOCAL_RANK'])) before the first tensor is put on the GPU.",
    )
    OTHER_RANKS_GPU = (
        "other-ranks-gpu",
        Severity.WARNING,
        "Memory on the GPU of another rank",
        "A rank that uses a GPU of its own allocates memory on the GPU of another rank, too. It also has a CUDA context there, which the "
        "report does not count.",
        "Load checkpoints with map_location, move tensors to the host before they are pickled or exchanged as objects, and call "
        "torch.cuda.set_device(int(os.environ['LOCAL_RANK'])) before the first tensor is put on the GPU.",
    )

    # -- what ranks must agree on ------------------------------------------------------------------------------------------------------

    MISSING_COLLECTIVE = (
        "missing-collective",
        Severity.ERROR,
        "Missing collective",
        "A rank skips a collective that the other ranks of the group call. The others wait for it, or meet it in a later call.",
        "Let every rank of the group make the same calls in the same order: look for a branch that depends on the rank or on data, "
        "or a loop over a set.",
        (RecorderVerdict.NOT_ALL_JOINING, RecorderVerdict.TYPE, RecorderVerdict.SIZE, RecorderVerdict.DTYPE),
    )
    EXTRA_COLLECTIVE = (
        "extra-collective",
        Severity.ERROR,
        "Extra collective",
        "A rank calls a collective that no other rank of the group calls.",
        "Let every rank of the group make the same calls in the same order: look for a branch that depends on the rank or on data, "
        "or a loop over a set.",
        (RecorderVerdict.NOT_ALL_JOINING, RecorderVerdict.TYPE, RecorderVerdict.SIZE, RecorderVerdict.DTYPE),
    )
    SWAPPED_COLLECTIVES = (
        "swapped-collectives",
        Severity.ERROR,
        "Collectives in another order",
        "A rank makes two calls of a group in the opposite order to the other ranks.",
        "Iterate in an order that is the same on every rank: sort dictionaries and sets before you loop over them.",
        (RecorderVerdict.TYPE, RecorderVerdict.SIZE, RecorderVerdict.DTYPE),
    )
    OPERATION_MISMATCH = (
        "operation-mismatch",
        Severity.ERROR,
        "Different operations",
        "Ranks that meet in one collective call different operations.",
        "Call the same operation on every rank of the group.",
        (RecorderVerdict.TYPE,),
    )
    DTYPE_MISMATCH = (
        "dtype-mismatch",
        Severity.ERROR,
        "Different dtypes",
        "Ranks that meet in one collective, or the two sides of a message, pass tensors of different dtypes.",
        "Cast the tensors to one dtype before the call.",
        (RecorderVerdict.DTYPE, RecorderVerdict.SIZE),
    )
    SIZE_MISMATCH = (
        "size-mismatch",
        Severity.ERROR,
        "Different sizes",
        "Ranks that meet in one collective, or the two sides of a message, pass different numbers of elements.",
        "Pad the tensors to one size, or use an operation that allows different sizes.",
        (RecorderVerdict.SIZE, RecorderVerdict.MESSAGES_DIFFER),
    )
    SPLITS_MISMATCH = (
        "splits-mismatch",
        Severity.ERROR,
        "Splits that do not fit",
        "In an all-to-all, a rank sends another number of elements to a peer than the peer expects from it.",
        "Exchange the split sizes first (all_to_all_single of the counts), and receive what they say.",
        (RecorderVerdict.SIZE,),
    )
    REDUCE_OP_MISMATCH = (
        "reduce-op-mismatch",
        Severity.ERROR,
        "Different reductions",
        "Ranks that meet in one collective reduce with different operations.",
        "Pass the same ReduceOp on every rank of the group.",
    )
    ROOT_MISMATCH = (
        "root-mismatch",
        Severity.ERROR,
        "Different roots",
        "Ranks that meet in one collective name different roots (`src` or `dst`).",
        "Pass the same global rank as `src` or `dst` on every rank of the group.",
    )
    CPU_TENSOR = (
        "cpu-tensor",
        Severity.ERROR,
        "Host tensor on a GPU backend",
        "A collective is called with a host tensor on a process group whose backend supports GPU tensors only.",
        'Move the tensor to the GPU, or initialise torch.distributed with backend="cpu:gloo,cuda:nccl".',
    )
    GROUP_MISMATCH = (
        "group-mismatch",
        Severity.ERROR,
        "Process groups that ranks create differently",
        "Ranks do not create the same process groups in the same order, so that one name stands for different groups.",
        "Let every rank call new_group for every group, in the same order, whether it is a member or not.",
    )
    NON_MEMBER = (
        "non-member",
        Severity.WARNING,
        "Call by a rank outside the group",
        "A rank calls a collective of a group that it is not in. torch warns and does nothing.",
        "Call the operation on the group's members only, or create the group with this rank.",
    )
    CALL_SITE_MISMATCH = (
        "call-site-mismatch",
        Severity.WARNING,
        "One collective, different lines",
        "Ranks reach one collective from different lines of the script. The calls match, perhaps by accident.",
        "Check that the lines belong together: a branch may hide a collective that one side lacks.",
    )

    # -- point to point --------------------------------------------------------------------------------------------------------------

    SEND_WITHOUT_RECV = (
        "send-without-recv",
        Severity.ERROR,
        "Message without a receiver",
        "A rank sends a message for which the peer posts no receive.",
        "Add the receive on the peer, with the same group and tag.",
        (RecorderVerdict.NOT_ALL_JOINING,),
    )
    RECV_WITHOUT_SEND = (
        "recv-without-send",
        Severity.ERROR,
        "Receive without a message",
        "A rank waits for a message that the peer never sends.",
        "Add the send on the peer, with the same group and tag.",
        (RecorderVerdict.NOT_ALL_JOINING,),
    )

    # -- progress --------------------------------------------------------------------------------------------------------------------

    DEADLOCK = (
        "deadlock",
        Severity.ERROR,
        "Deadlock",
        "Ranks wait for each other in a cycle, by the ordering rules of NCCL or gloo, although every call has its counterpart.",
        "Change the order of the calls on one side, or issue point-to-point operations with batch_isend_irecv.",
    )
    MISSING_KEY = (
        "missing-key",
        Severity.ERROR,
        "Key that is never set",
        "A rank waits for a key of a store (TCPStore, the default store) that no rank sets.",
        "Set the key on a rank that does not wait for it, or leave out the wait.",
    )
    ORDER_INVERSION = (
        "order-inversion",
        Severity.WARNING,
        "Collectives of two groups in opposite orders",
        "Ranks start collectives of two groups in opposite orders while both are in flight. NCCL may deadlock, depending on timing.",
        "Wait for the first collective before the second is started, or start them in the same order on every rank.",
    )
    UNEVEN_STEPS = (
        "uneven-steps",
        Severity.ERROR,
        "Different numbers of steps",
        "Ranks end after different numbers of training steps; the others wait for them in the next collective.",
        "Give every rank the same number of batches (drop_last, or a length that all ranks agree on), or use Join.",
        (RecorderVerdict.NOT_ALL_JOINING,),
    )
    EARLY_EXIT = (
        "early-exit",
        Severity.ERROR,
        "Rank that ends early",
        "A rank fails or exits while other ranks still wait for it in a collective or a message.",
        "Mend what ends the rank; its own traceback is in the report.",
        (RecorderVerdict.NOT_ALL_JOINING, RecorderVerdict.STATE),
    )
    NEVER_WAITED = (
        "never-waited",
        Severity.WARNING,
        "Asynchronous call that is never waited for",
        "An asynchronous collective is never waited for: its result may be used before it is complete.",
        "Call wait() on the handle before the result is used.",
    )

    # -- the job against the script ----------------------------------------------------------------------------------------------------

    FORBIDDEN_COLLECTIVE = (
        "forbidden-collective",
        Severity.ERROR,
        "Forbidden collective",
        "The script issues a collective that --error-on-collective, or a budget of a job file, forbids.",
        "Remove the call, or allow the operation.",
    )
    MESH_RESIZED = (
        "mesh-resized",
        Severity.NOTE,
        "Mesh resized",
        "The script makes a device mesh of other sizes than --mesh asks for; it gets those of --mesh.",
        "Check sizes that the script computes for itself (batch per rank, heads per rank): they may follow its own mesh.",
    )
    BASELINE_DRIFT = (
        "baseline-drift",
        Severity.ERROR,
        "Other than the baseline",
        "The job communicates otherwise, or needs other memory, than its baseline says.",
        "If the change is meant, write the baseline anew with fakerun check --update-baseline and have it reviewed. Else look at the line "
        "that is named.",
    )
    RANK_MISMATCH = (
        "rank-mismatch",
        Severity.WARNING,
        "Rank or world size that is not the job's",
        "The script initialises torch.distributed with another rank or world size than the job gives this process.",
        "Leave rank and world_size out of init_process_group: torchrun's environment has them.",
    )
    NO_PROCESS_GROUP = (
        "no-process-group",
        Severity.WARNING,
        "torch.distributed not initialised",
        "The script never initialises torch.distributed, so its ranks do not know of each other.",
        "Call init_process_group() or init_device_mesh(), or simulate the script with --world-size 1.",
    )
    NO_OPTIMIZER_STEP = (
        "no-optimizer-step",
        Severity.WARNING,
        "No optimizer step",
        "The script ends without an optimizer step; the report covers all of it as one unfinished step.",
        "Check that the script trains: an empty data loader or an early return may end it before the first step.",
    )

    # -- ranks that were not simulated -------------------------------------------------------------------------------------------------

    RANKS_REPRESENTED = (
        "ranks-represented",
        Severity.NOTE,
        "Ranks represented",
        "With --ranks auto some ranks are simulated. All that the program was seen to do with its rank was followed, and of every class of "
        "ranks that it tells apart one was simulated: the others take the same branches, unless these depend on the rank in a way that is "
        "not seen (docs/all_ranks.md lists them).",
        "Use --ranks all to simulate every rank.",
    )
    RANKS_ASSUMED = (
        "ranks-assumed",
        Severity.WARNING,
        "Ranks assumed",
        "With --ranks auto some ranks are simulated, and the others are assumed to match them, although not all that depends on the rank "
        "is known: the program used it as an index into data, as a seed or in a name, or ranks differ where no test of the rank says why.",
        "Use --ranks all to simulate every rank, or --samples to simulate more of them.",
    )
    RANKS_UNKNOWN = (
        "ranks-unknown",
        Severity.WARNING,
        "Ranks unknown",
        "With --ranks auto nothing is assumed of these ranks: the program tells apart more classes of ranks than are simulated, or the "
        "process groups of the ranks are not known. Nothing is checked of them.",
        "Use --ranks all to simulate every rank.",
    )
    ASSUMPTION_REFUTED = (
        "assumption-refuted",
        Severity.WARNING,
        "Assumption refuted",
        "A simulated rank differs from the rank that was to represent it: of others like it nothing is known.",
        "Use --ranks all to simulate every rank.",
    )
    RANK_ADDED = (
        "rank-added",
        Severity.NOTE,
        "Rank added",
        "A rank was simulated in addition to those asked for, because another rank waits for what it sends.",
        "Nothing needs to be done.",
    )
    PEERS_ASSUMED = (
        "peers-assumed",
        Severity.NOTE,
        "Values of peers assumed",
        "The script reads values that ranks contribute to which are not simulated: they are assumed to contribute what this rank does.",
        "Simulate the other ranks too (--ranks all, or a list): they exchange what they really contribute.",
    )

    PEER_UNAVAILABLE = (
        "peer-unavailable",
        Severity.NOTE,
        "Files of a peer unavailable",
        "A script looks for a file that another rank may write, while all ranks wait for each other; it is assumed not to be there.",
        "Treat what depends on the file as unverified.",
    )

    # -- values that are not computed ---------------------------------------------------------------------------------------------------

    UNKNOWN_VALUE = (
        "unknown-value",
        Severity.NOTE,
        "Unknown value",
        "The script reads a value that only a GPU could compute. It gets a placeholder: 1.0, 1 or False.",
        "Treat what depends on the value as unverified: on real data ranks may branch differently.",
    )
    UNKNOWN_OBJECT = (
        "unknown-object",
        Severity.NOTE,
        "Unknown object",
        "A rank that is not simulated sends a Python object; the receiving list keeps what it holds.",
        "Simulate the sender too, or let a dry run make the object on every rank.",
    )
    ASSUMED_ROUTING = (
        "assumed-routing",
        Severity.NOTE,
        "Routing assumed",
        "The script chooses by unknown scores, such as a router's experts. The choice follows --routing.",
        "Run both --routing balanced and --routing worst to see how much depends on it.",
    )
    ASSUMED_CHECK = (
        "assumed-check",
        Severity.NOTE,
        "Check assumed to pass",
        "The script checks a value that only a GPU could compute, in an assertion or a condition of which one branch only raises. "
        "The check is assumed to pass.",
        "Treat the check as not made: on real data it may fail.",
    )
    UNWRITTEN_MEMORY = (
        "unwritten-memory",
        Severity.WARNING,
        "Memory read that was never written",
        "The script makes a tensor with torch.empty and reads more of it than was written. What it holds is whatever the allocator's block "
        "held before; integers are assumed to be 0.",
        "Make the tensor with torch.zeros, or write all of it.",
    )
    ASSUMED_FINITE = (
        "assumed-finite",
        Severity.NOTE,
        "Values assumed finite",
        "The script asks whether unknown values are finite; they are assumed to be.",
        "Treat what the script does with values that are not finite as unverified.",
    )
    ASSUMED_SAMPLES = (
        "assumed-samples",
        Severity.NOTE,
        "Samples accepted",
        "trunc_normal_ of a DTensor takes its first samples. On a GPU some may be drawn again, and each round communicates.",
        "Expect a few more collectives during initialisation than the report shows.",
    )

    # -- what the emulation leaves out -------------------------------------------------------------------------------------------------

    NOT_EMULATED = (
        "not-emulated",
        Severity.NOTE,
        "API not emulated",
        "The script uses an API that is not emulated; it gets the stated answer and goes on.",
        "See the list of what is not emulated for what the answer means.",
    )
    OWN_FAKE_MODE = (
        "own-fake-mode",
        Severity.NOTE,
        "FakeTensorMode of the script's own",
        "The script makes tensors under a FakeTensorMode of its own, such as a memory estimator's. They take no device memory on a GPU "
        "either, and are not counted; what they communicate is recorded.",
        "Run the part of the script that trains for real to have its memory counted.",
    )
    OTHER_HARDWARE = (
        "other-hardware",
        Severity.NOTE,
        "Judged on other hardware",
        "The report judges a kept run on hardware that it was not simulated on. What torch chooses by compute capability (kernels) and the "
        "script by the device's properties is what they chose for the hardware that it was simulated on.",
        "Run the job again with that --hardware to be sure.",
    )
    STORE_ANSWER = (
        "store-answer",
        Severity.WARNING,
        "Answer of a store without the other ranks",
        "The script asks a store (TCPStore, the default store) for a count, or whether keys are there. In a dry run the store holds only "
        "what this rank puts there: the answer is another one than among all ranks, and a branch that depends on it is not verified.",
        "Exchange the value with a collective, such as all_gather_object: the simulated ranks do that for real.",
    )
    OTHER_LAUNCHER = (
        "other-launcher",
        Severity.WARNING,
        "Variable of another launcher",
        "The script fails at an environment variable that another launcher sets than the one whose variables it is given.",
        "Run it with --launcher slurm or --launcher mpi.",
    )
    NOT_SAVED = (
        "not-saved",
        Severity.NOTE,
        "Checkpoint not written",
        "A checkpoint is not written, because it would hold values that were not computed, or replace a file of yours. The ranks of this "
        "run find and load a stand-in with shapes, dtypes, devices and what is known of values.",
        "Nothing needs to be done: the dry run goes on as if the file were there.",
    )
    NOT_LOADED = (
        "not-loaded",
        Severity.NOTE,
        "Checkpoint not loaded",
        "A sharded checkpoint that this run has not saved is not loaded; the state stays as it is.",
        "A script that continues from the step of its checkpoint starts from the beginning here.",
    )
    COMPILED_EAGERLY = (
        "compiled-eagerly",
        Severity.NOTE,
        "torch.compile runs eagerly",
        "The program that torch.compile was asked for runs eagerly.",
        "Take the memory as an upper estimate: compiled code saves fewer activations.",
    )
    NOT_OVERLAPPED = (
        "not-overlapped",
        Severity.NOTE,
        "Async tensor parallelism, recorded without its overlap",
        "The script asks for matrix products that overlap chunk by chunk with the collective before or behind them. Here one runs after "
        "the other. What is communicated is the same.",
        "Nothing needs to be done for what torch.compile overlaps: the step time is estimated with it. Where the script calls the fused "
        "operators itself, the step time is that without their overlap.",
    )
    UNFUSED_ATTENTION = (
        "unfused-attention",
        Severity.NOTE,
        "FlexAttention outside torch.compile",
        "flex_attention is called outside torch.compile, where a GPU would hold all scores. It is counted as the fused kernel.",
        "Call torch.compile(flex_attention), or compile the model that calls it.",
    )
    UNFUSED_RNN = (
        "unfused-rnn",
        Severity.NOTE,
        "Recurrent layer taken apart",
        "A recurrent layer, one cuDNN kernel on a GPU, runs step by step.",
        "Take its memory as an estimate: the steps keep activations of their own, and cuDNN's workspace is not counted.",
    )
    HOST_PROFILE_ONLY = (
        "host-profile-only",
        Severity.NOTE,
        "Profile of the host only",
        "A profiler was asked for the device's activities; it records those of the host.",
        "Do not read times from it: they are those of the dry run.",
    )
    LOCAL_STORE = (
        "local-store",
        Severity.NOTE,
        "Store of one rank",
        "The script makes a TCPStore of its own; it holds only what this rank puts there.",
        "Do not wait for keys of other ranks: the wait ends with the store's timeout.",
    )


def codes_named(names: Iterable[str]) -> frozenset[FindingCode]:
    """The codes with these names.

    Raises:
        UsageError: a name is unknown.
    """
    named = set(names)
    known = [code.value for code in FindingCode]
    for name in sorted(named.difference(known)):
        raise UsageError(f"{name}: no finding has this code{did_you_mean(name, known)}; docs/findings.md lists all")
    return frozenset(map(FindingCode, named))
