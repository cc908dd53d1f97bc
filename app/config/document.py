"""heyfleet.yaml as plain data with the line of each key; placeholders are filled in on the way."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from yaml.constructor import ConstructorError, SafeConstructor
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from app.config.placeholders import fill
from app.config.problems import Key, Origin, Origins, Problem
from app.errors import ConfigError

TAG = "tag:yaml.org,2002:"
TEXT_TAGS = (TAG + "str", TAG + "timestamp", TAG + "value", TAG + "merge")
"""Dates are left as text: no setting is a date, and a name may look like one."""
TYPED_TAGS = (TAG + "null", TAG + "bool", TAG + "int", TAG + "float")


@dataclass(frozen=True, slots=True)
class Document:
    """A configuration file as it was read."""

    data: dict[str, Any]
    origins: Origins
    names: frozenset[str]
    """Every variable that a placeholder names."""
    problems: tuple[Problem, ...]


def read_document(text: str, name: str, variables: Mapping[str, str]) -> Document:
    """Read the YAML `text` of the file that people call `name`. Raises ConfigError where it is no YAML at all."""
    try:
        # compose() makes nodes and no objects, so nothing in the file can make Python run something.
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError([f"{name}:{line}: has a character that YAML does not allow; remove it"]) from None
    except yaml.MarkedYAMLError as error:
        raise ConfigError([syntax_error(error, text, name)]) from None
    reader = Reader(name, variables)
    data = {} if root is None or root.tag == TAG + "null" else reader.value(root, (), ())
    if not isinstance(data, dict):
        raise ConfigError([f"{name}:1: must consist of keys and values, such as http: {{port: 8000}}"])
    return Document(data, reader.origins, frozenset(reader.names), tuple(reader.problems))


def syntax_error(error: yaml.MarkedYAMLError, text: str, name: str) -> str:
    """One line about a syntax error. The file's own words are left out, since they may be part of a secret."""
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    written = (text.splitlines() or [""])[min(line, len(text.splitlines())) - 1] if text else ""
    problem = error.problem or "is no YAML"
    if "'\\t'" in problem:
        said = "has a tab where YAML wants spaces; indent with spaces"
    elif "undefined alias" in problem or "alphabetic or numeric character" in problem:
        said = "has a value that begins with * or &, which YAML takes for a reference; put the value in quotes"
    elif "cannot start any token" in problem:
        said = "has a value that begins with a character that YAML keeps for itself; put the value in quotes"
    elif "mapping values are not allowed" in problem:
        said = "has a ': ' too many or is indented wrongly; put a value that contains ': ' in quotes"
    elif "${" in written and "'{'" in problem:
        said = "has a ${…} inside { } or [ ]; put it in quotes there"
    else:
        said = "is no YAML: " + re.sub(r"'([^']*)'", without_words, problem)
    return f"{name}:{line}:{column}: {said}"


def without_words(match: re.Match[str]) -> str:
    quoted = match[1]
    return match[0] if len(quoted) == 1 or quoted.startswith("<") else "…"


class Reader:
    """Turns YAML nodes into data and keeps what else is to be known about each."""

    def __init__(self, name: str, variables: Mapping[str, str]) -> None:
        self.origins = Origins(name)
        self.names: set[str] = set()
        self.problems: list[Problem] = []
        self._name = name
        self._variables = variables
        self._constructor = SafeConstructor()

    def value(self, node: Node, key: Key, above: tuple[Node, ...]) -> Any:
        """The data of `node`; None after a problem. `above` are the nodes that hold it."""
        if node in above:
            self._problem(node, key, "refers to itself; write it out")
            return None
        if isinstance(node, MappingNode) and node.tag == TAG + "map":
            return self._mapping(node, key, (*above, node))
        if isinstance(node, SequenceNode) and node.tag == TAG + "seq":
            return self._sequence(node, key, (*above, node))
        if isinstance(node, ScalarNode) and node.tag in (*TEXT_TAGS, *TYPED_TAGS):
            return self._scalar(node, key)
        self._problem(node, key, "begins with !, which YAML takes for a tag; put the value in quotes")
        return None

    def _mapping(self, node: MappingNode, key: Key, above: tuple[Node, ...]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        seen: dict[str, int] = {}
        merged: list[Node] = []
        for name_node, value_node in node.value:
            if name_node.tag == TAG + "merge":
                merged.append(value_node)
            elif not isinstance(name_node, ScalarNode):
                self._problem(name_node, key, "has a key that is no text")
            elif name_node.value in seen:
                again = (*key, name_node.value)
                self._problem(name_node, again, f"stands here again, first in line {seen[name_node.value]}; keep one")
            else:
                seen[name_node.value] = name_node.start_mark.line + 1
                found[name_node.value] = self._entry(name_node, value_node, (*key, name_node.value), above)
        for source in merged:
            self._merge(source, key, found, above)
        return found

    def _entry(self, name_node: Node, value_node: Node, key: Key, above: tuple[Node, ...]) -> Any:
        self.origins[key] = self._origin(name_node)
        return self.value(value_node, key, above)

    def _merge(self, source: Node, key: Key, found: dict[str, Any], above: tuple[Node, ...]) -> None:
        """Take over what `<<` names, where it isn't set here already."""
        for mapping in source.value if isinstance(source, SequenceNode) else [source]:
            if not isinstance(mapping, MappingNode) or mapping in above:
                self._problem(source, key, "has a << that names no other mapping")
                continue
            for name_node, value_node in self._pairs(mapping, key):
                if name_node.value not in found:
                    inner = (*key, name_node.value)
                    found[name_node.value] = self._entry(name_node, value_node, inner, (*above, mapping))

    def _pairs(self, mapping: MappingNode, key: Key) -> Iterator[tuple[ScalarNode, Node]]:
        for name_node, value_node in mapping.value:
            if name_node.tag == TAG + "merge":
                self._problem(name_node, key, "has a << within what a << names; write it out")
            elif isinstance(name_node, ScalarNode):
                yield name_node, value_node

    def _sequence(self, node: SequenceNode, key: Key, above: tuple[Node, ...]) -> list[Any]:
        return [self._entry(item, item, (*key, index), above) for index, item in enumerate(node.value)]

    def _scalar(self, node: ScalarNode, key: Key) -> Any:
        if node.tag in TYPED_TAGS:
            try:
                return self._constructor.construct_object(node)
            except (ConstructorError, ValueError, KeyError):
                self._problem(node, key, f"is no {node.tag.removeprefix(TAG)}")
                return None
        filled = fill(node.value, self._variables.get)
        for text in filled.problems:
            self._problem(node, key, text)
        if filled.names:
            self.names.update(filled.names)
            sources = ", ".join(f"${name}" for name in dict.fromkeys(filled.names))
            origin = self.origins[key]
            self.origins[key] = Origin(origin.place, origin.line, outside=True, note=f" (filled in from {sources})")
        return filled.value

    def _origin(self, node: Node) -> Origin:
        line = node.start_mark.line + 1
        return Origin(f"{self._name}:{line}", line)

    def _problem(self, node: Node, key: Key, text: str) -> None:
        self.problems.append(Problem(self._origin(node), key, text))
