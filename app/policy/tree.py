"""A parsed script whose nodes know what they stand in. The parser's own way up looks from the root each time."""

from __future__ import annotations

from collections.abc import Iterator

from tree_sitter import Node

MOST_NODES = 4000
DEEPEST = 200


class TooLarge(Exception):
    """Looking at it would take too long."""


class Tree:
    """All nodes of a script, in its order. Raises TooLarge."""

    def __init__(self, root: Node) -> None:
        self.nodes: list[Node] = []
        self.printed: dict[int, list[tuple[int, str]]] = {}
        """By pipeline: what its commands are known to print, and where each of these ends."""
        self._above: dict[int, Node] = {}
        pending = [(root, 0)]
        while pending:
            node, depth = pending.pop()
            self.nodes.append(node)
            if depth > DEEPEST or len(self.nodes) + len(pending) > MOST_NODES:
                raise TooLarge
            for child in reversed(node.children):
                self._above[child.id] = node
                pending.append((child, depth + 1))

    def above(self, node: Node) -> Node | None:
        """What it stands in."""
        return self._above.get(node.id)


def every(root: Node) -> Iterator[Node]:
    """A node and all below it, in the script's order."""
    pending = [root]
    while pending:
        node = pending.pop()
        yield node
        pending.extend(reversed(node.children))
