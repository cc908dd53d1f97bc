"""What may be seen of the settings, and their schema."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from app.config.adapters import WebhookAdapter
from app.config.settings import ModelAlias, Settings
from app.config.show import MASK, masked, masked_url, schema


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://user:sesame@host/db", f"postgresql://user:{MASK}@host/db"),
        ("postgresql+psycopg://user:sesame@[::1]:5432/db", f"postgresql+psycopg://user:{MASK}@[::1]:5432/db"),
        ("postgresql://u:sesame@a:1,b:2/db?sslmode=require", f"postgresql://u:{MASK}@a:1,b:2/db?sslmode=require"),
        ("postgresql://host/db?user=u&password=sesame", f"postgresql://host/db?user={MASK}&password={MASK}"),
        ("postgresql://user@host/db", "postgresql://user@host/db"),
        ("redis://:sesame@host:6379/0", f"redis://:{MASK}@host:6379/0"),
        ("unix:///run/redis.sock?password=sesame", f"unix:///run/redis.sock?password={MASK}"),
        ("redis://host:6379/0?sesame", f"redis://host:6379/0?{MASK}"),
        ("host=h password=sesame", MASK),
        ("postgresql://u:p@sesame@host/db", MASK),
        ("postgresql://u:p/sesame@host/db", MASK),
        ("postgresql://u:p?sesame@host/db", MASK),
        ("postgresql://u:p#sesame@host/db", MASK),
        ("postgresql://host/db?password=se@sesame", MASK),
        ("redis://u:sesame", MASK),
    ],
)
def test_masked_urls(url: str, shown: str) -> None:
    assert masked_url(url) == shown


@given(st.text(alphabet="aZ0:/?#@ %&=[]!.,", max_size=12))
def test_no_password_is_shown_however_it_is_written(around: str) -> None:
    for password in (f"sesame{around}", f"{around}sesame"):
        assert "sesame" not in masked_url(f"postgresql://user:{password}@host/db")


def test_everything_secret_is_masked() -> None:
    settings = Settings(
        database_url=SecretStr("postgresql://user:sesame@host/db"),
        sentry_dsn=SecretStr("https://sesame@host/1"),
        models={"a": ModelAlias(model="openai/x", api_key=SecretStr("sesame"), base_url="http://u:sesame@h/v1")},
        adapters=[
            WebhookAdapter(kind="webhook", name="a", secret=SecretStr("sesame")),
            WebhookAdapter(
                kind="webhook",
                name="b",
                secret=[SecretStr("sesame")],
                reply_urls=["https://h/x?token=sesame", "https://h/y"],
            ),
        ],
    )
    shown = masked(settings)
    assert "sesame" not in json.dumps(shown)
    assert shown["database_url"] == f"postgresql://user:{MASK}@host/db"
    assert (shown["redis_url"], shown["sentry_dsn"]) == ("embedded", MASK)
    assert shown["models"]["a"]["api_key"] == MASK
    assert shown["models"]["a"]["base_url"] == f"http://u:{MASK}@h/v1"
    assert (shown["adapters"][0]["secret"], shown["adapters"][1]["secret"]) == (MASK, [MASK])
    assert shown["adapters"][1]["reply_urls"] == [f"https://h/x?token={MASK}", "https://h/y"]


def test_what_is_shown_can_be_loaded_again() -> None:
    settings = Settings()
    assert Settings.model_validate(masked(settings)) == settings


def test_the_schema_allows_what_the_file_allows() -> None:
    found = schema()
    assert found["$schema"].endswith("2020-12/schema")
    assert found["additionalProperties"] is False
    (number, text) = found["properties"]["drain"]["anyOf"]
    assert (number["type"], text["type"]) == ("number", "string")
    assert found["properties"]["drain"]["description"].startswith("How long a worker")
    assert found["properties"]["database_url"]["default"] == "embedded"
    (number, text) = found["$defs"]["Attachments"]["properties"]["max_bytes"]["anyOf"]
    assert (number["type"], text["type"]) == ("integer", "string")
    json.dumps(found)
