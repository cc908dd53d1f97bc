"""Is a request Slack's? https://docs.slack.dev/authentication/verifying-requests-from-slack"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from slack_sdk.signature import SignatureVerifier

from app.errors import Refused


def verify(headers: Mapping[str, str], body: bytes, secrets: Sequence[str]) -> None:
    """Raises Refused (401) unless the body was signed with one of the secrets in force, five minutes ago at most."""
    timestamp = headers.get("X-Slack-Request-Timestamp", "")
    signature = headers.get("X-Slack-Signature", "")
    known = timestamp.isascii() and timestamp.isdigit() and len(timestamp) < 16 and signature.isascii()
    # All are tried, whichever matches; the library compares in constant time, and looks at the age.
    try:
        matches = [known and SignatureVerifier(secret).is_valid(body, timestamp, signature) for secret in secrets]
    except ValueError:
        matches = []  # no text at all: whatever it is, Slack did not sign it
    if not any(matches):
        raise Refused(
            "the signature is not Slack's, or older than five minutes: compare signing_secret with the app's page, "
            "and this machine's clock with the time",
            status=401,
        )
