"""A Markdown text, and the places where it may be cut."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise

from wcwidth import grapheme_boundary_before

from app.adapters.formatting.markdown import cleaned, tokens_of

LONGEST_OPENING = 100
"""A fence with a longer first line is not opened again: no language has such a name."""

HEADING = re.compile(r" {0,3}#{1,6}(?:[ \t]|$)")
UNDERLINE = re.compile(r" {0,3}(?:=+|-+)[ \t]*$")
# Not a word that would begin a heading, a quote, a list, a table or a fence if it came first in a piece.
WORD = re.compile(r"(?<=[ \t])(?![#>+*=|`~-]|\d+[.)])\S")
EMPTY_LINES = re.compile(r"(?:[ \t]*\n)+")
SPACE = re.compile(r"\s*")
INDENT = re.compile(r"[ \t]*")
NO_QUOTE_MARK = re.compile(r"[^>\s]")


@dataclass(frozen=True, slots=True)
class Fenced:
    """Where a block of code is, and how to open it once more."""

    start: int
    first: int
    """Where the code begins."""
    last: int
    """Where it ends: the beginning of the closing line if there is one."""
    end: int
    marker: str
    info: str
    prefix: str
    """Before each of its lines: quote marks, and the indentation of the lists that it is in."""

    @property
    def quote(self) -> str:
        """Only the quote marks."""
        return self.prefix[: self.prefix.rfind(">") + 1] + " " if ">" in self.prefix else ""


class Source:
    """A text without what can't be shown. Its places are numbers of characters from its start."""

    def __init__(self, text: str) -> None:
        self.text = cleaned(text).rstrip()
        self.end = len(self.text)
        self.rows = self.text.split("\n")
        self.starts = [*accumulate((len(row) + 1 for row in self.rows), initial=0)]
        """Of each line, and where one after the last would be."""
        self.fences = list(self._fences())

    def _fences(self) -> Iterator[Fenced]:
        for token in tokens_of(self.text):
            if token.type != "fence" or token.map is None:
                continue
            top, bottom = token.map
            row, closing = self.rows[top], self.rows[bottom - 1].strip(" \t>")
            if len(row) > LONGEST_OPENING:
                continue
            closed = top < bottom - 1 and len(closing) >= len(token.markup) and set(closing) == {token.markup[0]}
            start, first, last, end = (
                min(self.starts[line], self.end) for line in (top, top + 1, bottom - closed, bottom)
            )
            prefix = NO_QUOTE_MARK.sub(" ", row[: row.index(token.markup)])
            yield Fenced(start, first, last, end, token.markup, token.info.strip(), prefix)

    def fence_at(self, place: int) -> Fenced | None:
        """The fence that is there, its first and last line included."""
        number = bisect_right(self.fences, place, key=lambda fence: fence.start) - 1
        found = self.fences[number] if number >= 0 else None
        return found if found and place <= found.end else None

    @cached_property
    def paragraphs(self) -> Sequence[int]:
        """Where to cut best: after an empty line and around code, but not below a heading."""
        borders = {place for fence in self.fences for place in (fence.start, fence.end)}
        after_empty = (
            start
            for (before, row), start in zip(pairwise(self.rows), self.starts[1:], strict=False)
            if row.strip() and not before.strip(" \t>") and not self._coded(start)
        )
        return sorted({*borders, *after_empty, self.end} - self._unfit - {0})

    @cached_property
    def lines(self) -> Sequence[int]:
        starts = {start for row, start in zip(self.rows, self.starts, strict=False) if row.strip()}
        return sorted({*starts, self.end} - self._unfit - {0})

    @cached_property
    def words(self) -> Sequence[int]:
        found = (word.start() for word in WORD.finditer(self.text))
        return [*(place for place in found if self._out_of_marker(place) == place), self.end]

    @cached_property
    def _unfit(self) -> set[int]:
        """Beginnings of lines that belong to the line above."""
        found = {fence.first for fence in self.fences} | {fence.last for fence in self.fences}
        below = False
        for (before, row), start in zip(pairwise(["", *self.rows]), self.starts, strict=False):
            if row.strip():
                if below or (before.strip() and UNDERLINE.match(row)):
                    found.add(start)
                below = bool(HEADING.match(row)) and not self._coded(start)
        return found - {self.end}

    def _coded(self, place: int) -> bool:
        fence = self.fence_at(place)
        return fence is not None and fence.start < place < fence.end

    def _out_of_marker(self, place: int) -> int:
        """Not in the line that opens or closes a fence, and not between it and all of the code: before it then."""
        fence = self.fence_at(place)
        if fence is None or not fence.start < place < fence.end:
            return place
        if not self.text[fence.first : place].strip(" \t\n>"):
            return fence.start
        return min(place, fence.last)

    def whole(self, place: int) -> int:
        """The place or one shortly before it, so that no character (with its accents), emoji or escape is cut.

        Nor are the quote marks and the indentation of a line parted from it.
        """
        place = self._out_of_marker(place)
        if place < self.end:
            place = grapheme_boundary_before(self.text, place + 1)
        line = self.text.rfind("\n", 0, place) + 1
        if not self.text[line:place].strip(" \t>"):
            return line
        return place - 1 if self.text[place - 1] == "\\" else place

    def character(self, place: int) -> int:
        """Where the character that begins there ends."""
        for after in range(place + 1, self.end):
            if grapheme_boundary_before(self.text, after + 1) == after:
                return after
        return self.end

    def following(self, place: int) -> int:
        """Where the next piece begins after a cut: what is left of empty lines and closed fences is in none."""
        fence = self.fence_at(place)
        if fence and fence.first <= place <= fence.last and not self.text[place : fence.last].strip():
            place = fence.end
        elif fence and fence.first <= place < fence.last:
            empty = EMPTY_LINES.match(self.text, place)
            return empty.end() if empty else place
        space = SPACE.match(self.text, place)
        after = space.end() if space else place
        # The indentation stays: it tells by how much to move the lines below.
        return max(place, self.text.rfind("\n", 0, after) + 1) if self._begins_line(place, after) else after

    def _begins_line(self, place: int, after: int) -> bool:
        return self.text[place - 1 : place] in {"", "\n"} or "\n" in self.text[place:after]

    def piece(self, start: int, end: int) -> str:
        """What is between the places, as a text of its own: its code is in fences, and its first line not indented."""
        rows = self.text[start:end].rstrip().split("\n")
        closing = self.fence_at(end)
        if closing and closing.first <= end <= closing.last:
            rows.append(closing.prefix + closing.marker)
        opening = self.fence_at(start)
        if opening and opening.first <= start < opening.last:
            if self.text[start - 1] != "\n":
                rows[0] = opening.prefix + rows[0]
            rows = moved(rows, opening.prefix, opening.quote)
            return "\n".join([opening.quote + opening.marker + opening.info, *rows])
        indent = INDENT.match(rows[0]) if start else None
        return "\n".join(moved(rows, indent.group(), "") if indent else rows)


def moved(rows: Sequence[str], old: str, new: str) -> list[str]:
    """The rows with the new prefix instead of the old one, which is longer. It ends with a row that has only the new.

    A row that has a part of the old prefix belongs to an outer list: those below it are moved by as much as it.
    """
    found = list(rows)
    for number, row in enumerate(rows):
        if row.strip(" \t>"):
            old = next(old[:size] for size in range(len(old), -1, -1) if row.startswith(old[:size]))
            if len(old) <= len(new):
                break
            found[number] = new + row[len(old) :]
    return found
