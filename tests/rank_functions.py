"""Functions of the rank in tests: as Python would write them, and evaluated for any rank."""

import operator
from collections.abc import Callable
from typing import Any

from fakerun.records.rank_function import Number, RankFunction, RankOperation

_BINARY: dict[RankOperation, tuple[str, Callable[[Any, Any], Any]]] = {
    RankOperation.ADD: ("+", operator.add),
    RankOperation.SUB: ("-", operator.sub),
    RankOperation.MUL: ("*", operator.mul),
    RankOperation.TRUEDIV: ("/", operator.truediv),
    RankOperation.FLOORDIV: ("//", operator.floordiv),
    RankOperation.MOD: ("%", operator.mod),
    RankOperation.POW: ("**", operator.pow),
    RankOperation.LSHIFT: ("<<", operator.lshift),
    RankOperation.RSHIFT: (">>", operator.rshift),
    RankOperation.AND: ("&", operator.and_),
    RankOperation.OR: ("|", operator.or_),
    RankOperation.XOR: ("^", operator.xor),
    RankOperation.EQ: ("==", operator.eq),
    RankOperation.NE: ("!=", operator.ne),
    RankOperation.LT: ("<", operator.lt),
    RankOperation.LE: ("<=", operator.le),
    RankOperation.GT: (">", operator.gt),
    RankOperation.GE: (">=", operator.ge),
}
_UNARY: dict[RankOperation, tuple[str, Callable[[Any], Any]]] = {
    RankOperation.NEG: ("-", operator.neg),
    RankOperation.ABS: ("abs", abs),
    RankOperation.INVERT: ("~", operator.invert),
    RankOperation.INT: ("int", int),
    RankOperation.TRUTH: ("bool", bool),
}


def text_of(function: RankFunction) -> str:
    """`(rank // 8) == 2`."""
    operation, constants = function.operation, function.constants
    inner = [text_of(each) for each in function.operands]
    operands = [f"({text})" if each.operands else text for text, each in zip(inner, function.operands, strict=True)]
    match operation:
        case RankOperation.CONSTANT:
            return str(constants[0])
        case RankOperation.IN:
            return f"{operands[0]} in {list(constants)}"
        case RankOperation.ITEM:
            return f"{list(constants)}.index({inner[0]})"
        case RankOperation.LOOKUP:
            return f"{list(constants)}[{inner[0]}]"
        case RankOperation.GROUP_RANK:
            return f"place in {list(constants)}"
    if operation in _BINARY:
        return f"{operands[0]} {_BINARY[operation][0]} {operands[1]}"
    return f"{_UNARY[operation][0]}{operands[0]}" if operation in _UNARY else operation.value


def value_of(function: RankFunction, rank: int, ranks_per_node: int) -> Number:
    """Its value on a rank."""
    operands = [value_of(each, rank, ranks_per_node) for each in function.operands]
    constants: tuple[Any, ...] = function.constants
    match function.operation:
        case RankOperation.RANK:
            return rank
        case RankOperation.LOCAL_RANK:
            return rank % ranks_per_node
        case RankOperation.NODE_RANK:
            return rank // ranks_per_node
        case RankOperation.CONSTANT:
            return function.constants[0]
        case RankOperation.IN:
            return int(operands[0] in constants)
        case RankOperation.ITEM:
            return constants.index(operands[0]) if operands[0] in constants else -1
        case RankOperation.LOOKUP:
            return function.constants[int(operands[0])]
    binary, unary = _BINARY.get(function.operation), _UNARY.get(function.operation)
    value: Number = binary[1](*operands) if binary is not None else unary[1](*operands) if unary is not None else -1
    return value
