"""Telling a listener what a model has said so far, such that the listener's faults stay its own."""

from __future__ import annotations

from collections.abc import Callable

import structlog

log = structlog.get_logger()


class Draft:
    """Passes on each text that is new. A listener that raises is logged once and not called again."""

    def __init__(self, on_text: Callable[[str], None], model: str) -> None:
        self._on_text = on_text
        self._model = model
        self._told = ""
        self._broken = False

    def show(self, text: str) -> None:
        """`text` is the whole text so far."""
        if self._broken or text == self._told:
            return
        self._told = text
        try:
            self._on_text(text)
        except Exception:  # the answer is what counts; who listens to its drafts is not known here
            self._broken = True
            log.exception("model_draft_not_shown", model=self._model)
