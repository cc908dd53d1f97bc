"""Configurations to read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from app.config.load import Loaded, load
from app.errors import ConfigError

Read = Callable[..., Loaded]
Problems = Callable[..., list[str]]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Load from a folder of its own that has the given heyfleet.yaml and .env, with no variables but the given ones."""

    def read(text: str | None = None, environ: Mapping[str, str] | None = None, dotenv: str | None = None) -> Loaded:
        if text is not None:
            (tmp_path / "heyfleet.yaml").write_text(text, encoding="utf-8")
        if dotenv is not None:
            (tmp_path / ".env").write_text(dotenv, encoding="utf-8")
        return load(None, environ or {}, tmp_path)

    return read


@pytest.fixture
def problems(read: Read) -> Problems:
    """Like `read`, for a configuration that is refused."""

    def problems(
        text: str | None = None, environ: Mapping[str, str] | None = None, dotenv: str | None = None
    ) -> list[str]:
        with pytest.raises(ConfigError) as refused:
            read(text, environ, dotenv)
        return refused.value.problems

    return problems
