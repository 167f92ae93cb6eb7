"""Expressions over the rank as they are built while the program runs: equal ones are one object, so that a test made again costs little."""

from fakerun.records.rank_function import Number, RankFunction, RankOperation

MAX_SIZE = 64
"""Operations in an expression. A longer one is usually the running value of a loop."""

_MAX_EXPRESSIONS = 1 << 16


class Expression:
    """A `RankFunction` that can be told from others by identity."""

    __slots__ = ("_function", "constants", "operands", "operation", "size")

    def __init__(self, operation: RankOperation, operands: tuple["Expression", ...], constants: tuple[Number, ...]) -> None:
        self.operation = operation
        self.operands = operands
        self.constants = constants
        self.size: int = 1 + sum(operand.size for operand in operands)
        self._function: RankFunction | None = None

    @property
    def function(self) -> RankFunction:
        """What it is in a record."""
        if self._function is None:
            operands = tuple(operand.function for operand in self.operands)
            self._function = RankFunction(operation=self.operation, operands=operands, constants=self.constants)
        return self._function


class ExpressionTable:
    """Makes expressions, each once, as long as they are not too many."""

    def __init__(self) -> None:
        self._constants: dict[tuple[type, Number], Expression] = {}
        self._made: dict[tuple[object, ...], Expression] = {}

    def constant(self, value: Number) -> Expression:
        """The number: 1 and 1.0 are different."""
        key = (type(value), value)
        found = self._constants.get(key)
        if found is None:
            if len(self._constants) >= _MAX_EXPRESSIONS:
                self._constants.clear()
            found = self._constants[key] = Expression(RankOperation.CONSTANT, (), (value,))
        return found

    def leaf(self, operation: RankOperation, constants: tuple[Number, ...] = ()) -> Expression:
        """An expression without operands."""
        return self._of((operation, constants), operation, (), constants)

    def unary(self, operation: RankOperation, operand: Expression, constants: tuple[Number, ...] = ()) -> Expression:
        return self._of((operation, id(operand), constants), operation, (operand,), constants)

    def binary(self, operation: RankOperation, left: Expression, right: Expression) -> Expression:
        return self._of((operation, id(left), id(right)), operation, (left, right), ())

    def total(self, left: Expression, right: Expression) -> Expression:
        """The sum of integers; what a loop adds up does not grow."""
        if left.operation is RankOperation.ADD and right.operation is RankOperation.CONSTANT:
            inner, added = left.operands
            if added.operation is RankOperation.CONSTANT:
                left, right = inner, self.constant(added.constants[0] + right.constants[0])
        return self.binary(RankOperation.ADD, left, right)

    def _of(
        self, key: tuple[object, ...], operation: RankOperation, operands: tuple[Expression, ...], constants: tuple[Number, ...]
    ) -> Expression:
        found = self._made.get(key)
        if found is None or found.operands != operands:  # an operand of before is gone, and another one has its id
            if len(self._made) >= _MAX_EXPRESSIONS:
                self._made.clear()
            found = self._made[key] = Expression(operation, operands, constants)
        return found
