from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import SecretStr

from app.config.settings import Settings
from app.errors import ConfigError, Unavailable
from app.log import redacted
from app.services.addresses import Addresses, Recorded, record, recorded, resolve, wait_for


def settings(
    database_url: str, redis_url: str = "redis://127.0.0.1:1/0", state_dir: Path = Path("/nowhere")
) -> Settings:
    return Settings(database_url=SecretStr(database_url), redis_url=SecretStr(redis_url), state_dir=state_dir)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_configured_urls_get_our_driver(scheme: str) -> None:
    found = resolve(settings(f"{scheme}://me:pass%40word@db.example:5432/fleet?sslmode=require", "rediss://r:1/2"))
    assert found.database_url == "postgresql+psycopg://me:pass%40word@db.example:5432/fleet?sslmode=require"
    assert found.redis_url == "rediss://r:1/2"


@pytest.mark.parametrize(
    ("database_url", "redis_url", "problem"),
    [
        ("mysql://h/d", "redis://h", "database_url: must be postgresql://"),
        ("postgresql+asyncpg://h/d", "redis://h", "database_url: must be postgresql://"),
        ("just a word", "redis://h", "database_url: must be postgresql://"),
        ("postgresql://h/d", "http://h", "redis_url: must be redis://"),
        ("postgresql://[h/d", "redis://h", "database_url: can't be understood"),
    ],
)
def test_what_is_no_such_url_is_refused(database_url: str, redis_url: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        resolve(settings(database_url, redis_url))


@pytest.mark.parametrize(
    ("database_url", "redis_url"),
    [
        ("postgresql://u:sesame123@h/d?colour=red", "redis://127.0.0.1:1"),
        ("postgresql://127.0.0.1:1/d", "redis://:sesame123@h:port"),
    ],
)
def test_what_cannot_be_read_is_not_waited_for(database_url: str, redis_url: str) -> None:
    with pytest.raises(ConfigError, match="can't be understood") as caught:
        wait_for(settings(database_url, redis_url), 60, say=print)
    assert "sesame" not in str(caught.value)


def test_passwords_are_not_shown() -> None:
    found = resolve(settings("postgresql://u:open%20sesame@h/d", "redis://:abracadabra@h"))
    assert repr(found) == "Addresses()"
    shown = redacted("it was open sesame, open%20sesame or abracadabra")
    assert shown == "it was ********, ******** or ********"


def test_embedded_ones_are_as_written_down(tmp_path: Path) -> None:
    here = settings("embedded", "embedded", tmp_path)
    with pytest.raises(Unavailable, match="start the embedded ones with `heyfleet services`"):
        resolve(here)
    record(
        tmp_path,
        {
            "postgres": Recorded(port=1, url="postgresql+psycopg://u:made-by-us@127.0.0.1:1/d"),
            "redis": Recorded(port=2, url="redis://:made-by-us@127.0.0.1:2/0"),
        },
    )
    assert resolve(here) == Addresses(
        "postgresql+psycopg://u:made-by-us@127.0.0.1:1/d", "redis://:made-by-us@127.0.0.1:2/0"
    )
    assert (tmp_path / "services.json").stat().st_mode & 0o777 == 0o600
    # Its port is kept, but it is not ready to be used.
    record(tmp_path, {**recorded(tmp_path), "redis": Recorded(port=2, url=None)})
    with pytest.raises(Unavailable):
        resolve(here)
    assert resolve(settings("embedded", "redis://h", tmp_path)).redis_url == "redis://h"


def test_a_damaged_note_is_named(tmp_path: Path) -> None:
    (tmp_path / "services.json").write_text(json.dumps({"postgres": {}})[:-1])
    with pytest.raises(ConfigError, match=r"services\.json is damaged: delete it"):
        resolve(settings("embedded", "embedded", tmp_path))


def test_who_waits_in_vain_is_told_why_and_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Unavailable, match="no Postgres and Redis after 0 s: start them, or correct") as caught:
        wait_for(settings("postgresql://u:sesame123@127.0.0.1:1/d"), 0.3)
    assert "Postgres: " in caught.value.detail
    assert "Redis: " in caught.value.detail
    assert "sesame" not in caught.value.detail
    assert capsys.readouterr().err == "waiting for Postgres and Redis (up to 0 s) …\n"
