"""Disjoint sets (union-find) of hashable items."""

from collections.abc import Hashable
from typing import Generic, TypeVar

Item = TypeVar("Item", bound=Hashable)


class UnionFind(Generic[Item]):
    """Each item starts as a set of its own."""

    def __init__(self) -> None:
        self._parents: dict[Item, Item] = {}

    def find(self, item: Item) -> Item:
        """The representative of the set that contains the item."""
        parents = self._parents
        root = item
        while (parent := parents.get(root, root)) != root:
            root = parent
        while (parent := parents.get(item, item)) != root:
            parents[item], item = root, parent
        return root

    def union(self, one: Item, other: Item) -> None:
        """Merge the sets of the two items."""
        a, b = self.find(one), self.find(other)
        if a != b:
            self._parents[b] = a
