"""Long texts in pieces. The cuts depend on the text only: a piece that is sent once more is the same."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.adapters.formatting.source import Source

FIRST_GUESS = 2000
"""Characters of the first piece."""

LINES, CHARACTERS = 1, 3
"""Levels: paragraphs are 0, words 2."""

NEAR = 64
"""Words or characters are found to this part of them."""

TRIES = 32
"""Places nearby: closing a fence takes a few characters more than the code that it follows."""

FULL = 3
"""A better place to cut is taken if the piece is at least a third as long as it could be."""


def split(text: str, fits: Callable[[str], bool]) -> list[str]:
    """Markdown cut into pieces each of which fits; none for a text with nothing in it.

    Between paragraphs if possible, else between lines, else words. Code that is cut is in a fence in each piece.
    Whitespace where it is cut is left out, and lists that are cut move to the border. Only a single character may be
    too much. `fits` should say yes to any beginning of what it says yes to, but nothing depends on it.
    """
    source, pieces, size = Source(text), list[str](), FIRST_GUESS
    start = source.following(0)
    while start < source.end:
        end = Search(source, fits, start, size).end()
        piece = source.piece(start, end) if end > start else ""
        if end == start:
            # Not even with one character: its fence is too much.
            end = source.character(start)
            if not fits(source.text[start:end]):
                end = start + 1
            piece = source.text[start:end]
        if piece.strip():
            pieces.append(piece)
        size, start = max(end - start, size * 7 // 8), source.following(end)
    return pieces


@dataclass(frozen=True, slots=True)
class Search:
    """For the end of one piece."""

    source: Source
    fits: Callable[[str], bool]
    start: int
    size: int
    """Of the piece before: this one will be much the same."""

    def end(self) -> int:
        """The start if not one character fits."""
        reach = 2 * self.size
        while True:
            # What is further off than that is not tried: to look at all of the rest each time takes too long.
            last = self.source.end <= self.start + reach
            if last and self.fit(self.source.end):
                return self.source.end
            end = self.cut(self.start, self.source.end if last else self.start + reach, 0)
            if last or end - self.start < reach * 3 // 4:
                return end
            reach *= 2

    def cut(self, low: int, high: int, level: int) -> int:
        """The best place after `low`, which fits, and before `high`, which does not."""
        places = self.places(low, high, level)
        # Finding the very last word is not worth the time.
        near = len(places) // NEAR if level > LINES else 0
        count = furthest(len(places), self.guess(places), lambda number: self.fit(places[number]), near)
        found = places[count - 1] if count else low
        if level == CHARACTERS:
            return self.whole(found, low)
        failing = places[count] if count < len(places) else high
        if self.full(found, failing):
            return found
        finer = self.cut(found, failing, level + 1)
        return found if self.full(found, finer) else finer

    def places(self, low: int, high: int, level: int) -> Sequence[int]:
        if level == CHARACTERS:
            return range(low + 1, high)
        places = (self.source.paragraphs, self.source.lines, self.source.words)[level]
        return places[bisect_right(places, low) : bisect_left(places, high)]

    def guess(self, places: Sequence[int]) -> int:
        return bisect_right(places, self.start + self.size) - 1

    def whole(self, found: int, low: int) -> int:
        """The last place up to `found` where no character is cut and that fits, if there is one nearby."""
        place = found
        for _ in range(TRIES):
            place = self.source.whole(place)
            if place <= low:
                break
            if self.fit(place):
                return place
            place -= 1
        return low if low > self.start else found

    def full(self, end: int, possible: int) -> bool:
        return end > self.start and possible - self.start <= FULL * (end - self.start)

    def fit(self, end: int) -> bool:
        return self.fits(self.source.piece(self.start, end))


def furthest(count: int, guess: int, fits: Callable[[int], bool], near: int) -> int:
    """How many of `count` fit, if those that do come first, or up to `near` fewer; the last of them has been tried.

    Looks around the guess, and further off step by step.
    """
    low, high, step = 0, count, near + 1
    at = min(max(guess, 0), count - 1)
    while high - low > (near if low else 0):
        if fits(at):
            low, at = at + 1, at + step
        else:
            high, at = at, at - step
        step *= 2
        if not low <= at < high:
            at = (low + high) // 2
    return low
