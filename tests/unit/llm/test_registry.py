from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.config.settings import ModelAlias, Settings
from app.errors import Permanent
from app.llm.registry import Models

ALIASES = {
    "fast": ModelAlias(model="openai/m", base_url="http://127.0.0.1:9/v1", context_window=9000),
    "echo": ModelAlias(model="demo/echo", context_window=2000),
}


def test_each_model_is_made_once() -> None:
    models = Models(Settings(models=ALIASES))
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(models.get, ["fast", "demo/echo"] * 8))
    assert len({id(model) for model in made}) == 2


def test_names_and_windows() -> None:
    models = Models(Settings(models=ALIASES))
    known = ["fast", "echo", "demo/echo", "openai/gpt-4o", "openai/no-such-model"]
    assert [(models.get(name).name, models.get(name).context_window) for name in known] == [
        ("fast", 9000),
        ("echo", 2000),
        ("demo/echo", 128_000),
        ("openai/gpt-4o", 128_000),
        ("openai/no-such-model", 128_000),
    ]
    assert models.get("anthropic/claude-sonnet-4-6").context_window == 1_000_000


@pytest.mark.parametrize("name", ["gpt-4o", "nobody/gpt-4o", "openai/", ""])
def test_a_name_that_means_nothing(name: str) -> None:
    with pytest.raises(Permanent, match="provider/name"):
        Models(Settings()).get(name)


def test_the_demo_model_needs_no_library() -> None:
    """Else every first run and every fleet on the demo model pays for it in seconds and megabytes."""
    program = """
import sys
from app.config.settings import Settings
from app.llm.registry import Models
Models(Settings()).get("demo/echo")
assert not {"pydantic_ai", "openai", "httpx2", "genai_prices"} & set(sys.modules), sorted(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_a_providers_library_is_loaded_when_it_is_used() -> None:
    program = """
import sys
from app.config.settings import Settings
from app.llm.registry import Models
models = Models(Settings())
models.get("anthropic/claude-sonnet-4-6")
assert not {"anthropic", "openai", "google.genai"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
