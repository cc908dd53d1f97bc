"""Error reports to Sentry, only where a DSN is set."""

from __future__ import annotations

from app.config.settings import Settings


def report_errors(settings: Settings, process: str) -> None:
    """Send this process's errors to Sentry, without what people said: neither bodies, nor variables, nor prompts."""
    if settings.sentry_dsn is None:
        return
    import sentry_sdk  # noqa: PLC0415 (60 ms and 10 MB that nobody pays who has no DSN)

    sentry_sdk.init(
        dsn=settings.sentry_dsn.get_secret_value(),
        server_name=None,
        send_default_pii=False,
        # Frames' variables and request bodies hold messages and tokens.
        include_local_variables=False,
        max_request_body_size="never",
        traces_sample_rate=0,
    )
    sentry_sdk.set_tag("process", process)
