"""What holds for all renderers."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest
from hypothesis import given

from app.adapters.formatting import discord_markdown, plain, slack_mrkdwn, telegram_html
from app.adapters.formatting.inline import inline
from tests.unit.adapters.formatting.corpus import CORPUS, DEEP
from tests.unit.adapters.formatting.generated import documents, noise

RENDERERS = [slack_mrkdwn, telegram_html, discord_markdown, plain]
WORD = re.compile(r"w\d+z")


@pytest.mark.parametrize("render", RENDERERS)
@pytest.mark.parametrize("name", DEEP)
def test_deep_texts_take_no_time(render: Callable[[str], str], name: str) -> None:
    inline.cache_clear()
    started = time.process_time()
    render(DEEP[name])
    assert time.process_time() - started < 2


@pytest.mark.parametrize("render", RENDERERS)
@pytest.mark.parametrize("source", [">" * 100, "- " * 100, "> 1. " * 100, DEEP["lists by indentation"]])
def test_what_is_too_deep_is_still_there(render: Callable[[str], str], source: str) -> None:
    assert "deepest" in render(source + " deepest")


@pytest.mark.parametrize("render", RENDERERS)
@given(source=documents)
def test_no_word_is_lost(render: Callable[[str], str], source: str) -> None:
    assert set(WORD.findall(render(source))) == set(WORD.findall(source))


@pytest.mark.parametrize("render", RENDERERS)
@given(source=noise)
def test_what_comes_out_can_be_sent(render: Callable[[str], str], source: str) -> None:
    rendered = render(source)
    rendered.encode()
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", rendered)
    assert rendered == rendered.strip("\n")


@pytest.mark.parametrize("render", RENDERERS)
@pytest.mark.parametrize("name", CORPUS)
def test_nothing_is_made_of_nothing_only(render: Callable[[str], str], name: str) -> None:
    assert render(CORPUS[name]).strip()
    assert not render(" \n\t\n")
