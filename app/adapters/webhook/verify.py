"""Who may post: the shared secret, compared in constant time."""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence

from app.errors import Refused


def verify(headers: Mapping[str, str], secrets: Sequence[str]) -> None:
    """Raises Refused (401) unless the request brings one of the secrets in force."""
    offered = headers.get("X-Heyfleet-Secret", "")
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    if not offered and scheme.lower() == "bearer":
        offered = token.strip()
    # All are compared, whichever matches: the time taken says nothing about which.
    matches = [hmac.compare_digest(offered.encode(), secret.encode()) for secret in secrets]
    if not offered or not any(matches):
        raise Refused(
            "wrong or missing secret: send it as 'Authorization: Bearer …' or 'X-Heyfleet-Secret'", status=401
        )
