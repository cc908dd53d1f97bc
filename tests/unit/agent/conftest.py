"""Agent folders to read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

Files = Callable[[dict[str, str]], None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An agent folder that is still empty."""
    path = tmp_path / "agent"
    path.mkdir()
    return path


@pytest.fixture
def files(folder: Path) -> Files:
    """Write files into the folder, by relative path."""

    def write(contents: dict[str, str]) -> None:
        for name, text in contents.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    return write
