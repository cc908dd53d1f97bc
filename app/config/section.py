"""What all sections of the settings have in common."""

from __future__ import annotations

import math
from typing import Any

from pydantic import BaseModel, ConfigDict, SecretStr, field_validator


class Section(BaseModel):
    # https://docs.pydantic.dev/latest/api/config/#pydantic.config.ConfigDict.use_attribute_docstrings
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    @field_validator("*", mode="after")
    @classmethod
    def makes_sense(cls, value: Any) -> Any:
        if isinstance(value, int | float) and not 0 <= value < math.inf:
            raise ValueError("must be zero or more, and finite")
        # An empty webhook secret would be one that everybody knows.
        if isinstance(value, SecretStr) and not value.get_secret_value():
            raise ValueError("must not be empty; set it, or leave the key out")
        return value
