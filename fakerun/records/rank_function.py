"""What a rank's run depended on: functions of the rank that the program tested, with the outcome that this rank saw.

A `RankFunction` is an expression over the global rank, as data: it can be evaluated for every rank of the world, simulated or not. Ranks
for which all tests of a simulated rank have the outcome that it saw take the same branches, as far as branches were tested.
"""

from dataclasses import dataclass
from enum import StrEnum

from fakerun.call_site import CallSite

Number = int | float


class RankOperation(StrEnum):
    """How a rank function computes its value; Python's semantics throughout."""

    RANK = "rank"
    """The global rank."""
    LOCAL_RANK = "local_rank"
    """The rank on its node: `rank % ranks_per_node`."""
    NODE_RANK = "node_rank"
    """The node of the rank: `rank // ranks_per_node`; torchrun's GROUP_RANK."""
    GROUP_RANK = "group_rank"
    """The position in the process group whose members are `constants`, in their order; -1 for other ranks.

    For a rank that is in none of these places, the value is that in the counterpart of the group: `analysis.representatives` decides.
    """
    CONSTANT = "constant"
    """`constants[0]`."""
    NEG = "neg"
    ABS = "abs"
    INVERT = "invert"
    ADD = "add"
    SUB = "sub"
    MUL = "mul"
    TRUEDIV = "truediv"
    FLOORDIV = "floordiv"
    MOD = "mod"
    POW = "pow"
    LSHIFT = "lshift"
    RSHIFT = "rshift"
    AND = "and"
    OR = "or"
    XOR = "xor"
    INT = "int"
    """Truncation of a float."""
    EQ = "eq"
    NE = "ne"
    LT = "lt"
    LE = "le"
    GT = "gt"
    GE = "ge"
    TRUTH = "truth"
    IN = "in"
    """Whether the operand is one of `constants`."""
    ITEM = "item"
    """The operand's place in `constants`, as `constants.index(operand)`; -1 if it is not there: which entry of a table was read."""
    LOOKUP = "lookup"
    """`constants[operand]`, with Python's meaning of negative places: the entry of a table that was read.

    Entries that are no numbers are numbered: equal entries have one number. Of a table that answers for keys that it does not have, the
    answer is the last constant, which the operation ITEM over the keys finds at -1.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class RankFunction:
    """An integer, a float or a truth value that depends on the rank.

    Evaluation may fail for some ranks (`100 // rank` on rank 0, an index behind the end of a table): they do something else.
    """

    operation: RankOperation
    operands: tuple["RankFunction", ...] = ()
    constants: tuple[Number, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RankTest:
    """A test of a rank function that the program made, and what it was on the simulated rank.

    `outcome` is the value of `function` there: a truth value as 0 or 1. `call_site` is where the program made it, None if that is unknown.
    """

    function: RankFunction
    outcome: Number
    call_site: CallSite | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnfollowedUse:
    """A use of a function of the rank after which it is not known what depends on it; `count` is how often it was made at `call_site`.

    `kind` is one of `index` (into data, or of a range), `seed` (of random numbers), `text` (a file name, a part of a text), `argument` (of
    a function that cannot be followed, or too long an expression), and `scan`: at this place so many tests were made, each of another
    number, that they distinguish ranks one by one. None of these tests is recorded.
    """

    kind: str
    call_site: CallSite | None
    count: int
