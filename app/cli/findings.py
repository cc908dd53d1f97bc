"""What was looked at and what is wrong with it, as `heyfleet doctor` and the providers' `check` say it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Literal

from app.cli.context import Stop, one_line


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    what: str
    level: Literal["ok", "warning", "error"]
    said: str
    """What there is; where something is wrong, with the cure."""


def tell(findings: Iterable[Finding], *, as_json: bool) -> None:
    """All of them. Raises Stop where one is an error."""
    found = list(findings)
    if as_json:
        sys.stdout.write(json.dumps([asdict(finding) for finding in found], indent=2) + "\n")
    else:
        sys.stdout.writelines(f"{each.level:<8} {each.what}: {one_line(each.said)}\n" for each in found)
    if any(finding.level == "error" for finding in found):
        raise Stop(1)
