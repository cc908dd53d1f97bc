"""The settings as people may see them: everything secret is masked. And their JSON Schema, for editors."""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel, SecretStr
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from app.config.settings import Settings
from app.config.units import byte_count, seconds

MASK = "********"
HOST = r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._*-]*)(?::\d+)?"
# Anything that doesn't fit is masked as a whole: an address that was put together wrongly may show its password
# where a host should be.
URL = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)"
    r"(?:(?P<user>[^:/?#@\s]*)(?P<password>:[^/?#@\s]*)?(?P<at>@))?"
    rf"(?P<host>{HOST}(?:,{HOST})*)(?P<path>/[^?#@\s]*)?(?:\?(?P<query>[^#@\s]*))?"
)
SHOWN_OPTIONS = frozenset({"application_name", "connect_timeout", "sslmode", "ssl_cert_reqs", "target_session_attrs"})
ADDRESSES = frozenset({"database_url", "redis_url"})
"""Secret settings of which all but the password is worth seeing."""


def masked(settings: Settings) -> dict[str, Any]:
    """The effective settings as JSON-like data; durations as people write them, `********` for what is secret."""
    shown = settings.model_dump(mode="json")
    return {name: masked_value(getattr(settings, name), shown[name], name) for name in shown}


def masked_value(value: Any, shown: Any, name: str = "") -> Any:
    """`shown`, which is the dumped form of `value`, without what is secret in it."""
    if isinstance(value, SecretStr):
        return masked_secret(value.get_secret_value(), name)
    if isinstance(value, BaseModel):
        return {inner: masked_value(getattr(value, inner), text, inner) for inner, text in shown.items()}
    if isinstance(value, dict):
        return {inner: masked_value(value[inner], text) for inner, text in shown.items()}
    if isinstance(value, list):
        return [masked_value(*pair) for pair in zip(value, shown, strict=True)]
    return masked_url(shown) if isinstance(shown, str) and is_telling_url(shown) else shown


def masked_secret(text: str, name: str) -> str:
    if name not in ADDRESSES:
        return MASK
    return text if text == "embedded" else masked_url(text)


def is_telling_url(text: str) -> bool:
    """Whether a setting that is no secret by itself is an address with more in it than where to go."""
    scheme, _, rest = text.partition("://")
    return bool(rest) and re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme) is not None and ("@" in rest or "?" in rest)


def masked_url(text: str) -> str:
    """`postgresql://user:********@host/db`: the address without its password and without unknown options' values."""
    match = URL.fullmatch(text)
    if match is None:
        return MASK
    user = f"{match['user']}:{MASK}@" if match["password"] else f"{match['user'] or ''}{match['at'] or ''}"
    options = [masked_option(option) for option in match["query"].split("&")] if match["query"] else []
    query = "?" + "&".join(options) if options else ""
    return f"{match['scheme']}{user}{match['host']}{match['path'] or ''}{query}"


def masked_option(option: str) -> str:
    name, equals, _ = option.partition("=")
    if not equals:
        return MASK
    return option if name in SHOWN_OPTIONS else f"{name}={MASK}"


def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of heyfleet.yaml."""
    found = Settings.model_json_schema(schema_generator=FileSchema)
    return {"$schema": FileSchema.schema_dialect, **found, "title": "heyfleet.yaml"}


class FileSchema(GenerateJsonSchema):
    """What may stand in the file, where the schema of the types says only what comes out."""

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> JsonSchemaValue:
        """A duration or a size may be written as text."""
        read = super().function_before_schema(schema)
        patterns: dict[Any, str] = {
            seconds: r"^(\d+(\.\d+)?(ms|s|m|h|d))+$",
            byte_count: r"^\d+(\.\d+)?\s*(([KkMmGg][Ii]?)?[Bb])?$",
        }
        pattern = patterns.get(schema["function"]["function"])
        return {"anyOf": [read, {"type": "string", "pattern": pattern}]} if pattern else read

    def encode_default(self, dft: Any) -> Any:
        """A default is no secret."""
        return super().encode_default(dft.get_secret_value() if isinstance(dft, SecretStr) else dft)
