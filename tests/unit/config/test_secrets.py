"""What of a configuration and an environment is a secret."""

from __future__ import annotations

from app.config.secrets import secrets_of
from app.config.settings import Settings


def test_tokens_and_keys_are_and_words_and_places_are_not() -> None:
    settings = Settings.model_validate(
        {
            "adapters": [{"kind": "webhook", "name": "a", "secret": ["first-secret", "second-secret"]}],
            "models": {
                "m": {"model": "openai/x", "api_key": "sk-of-the-model"},
                "n": {"model": "a/b", "api_key": "none"},
            },
            "flower": {"basic_auth": "ops:sesame,dev:pass-of-dev"},
            "database_url": "postgresql://u:p@h/d",
        }
    )
    environ = {
        "OPENAI_API_KEY": "sk-environment",
        "POSTGRES_PASSWORD": "postgres",
        "CREDENTIALS_DIRECTORY": "/run/credentials",
        "AUTH_COOKIE_SECURE": "always-on",
        "PATH": "/usr/bin",
    }
    assert set(secrets_of(settings, environ)) == {
        "first-secret",
        "second-secret",
        "sk-of-the-model",
        "ops:sesame,dev:pass-of-dev",
        "sesame",
        "pass-of-dev",
        "sk-environment",
    }
