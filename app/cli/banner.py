"""What a start ends in: where everything is, and what to try next."""

from __future__ import annotations

from app.config.adapters import WebhookAdapter
from app.config.settings import Settings


def banner(settings: Settings) -> str:
    """Where everything is, and what to try next."""
    url = f"http://{settings.http.host}:{settings.http.port}"
    lines = [
        "",
        "heyfleet is up.",
        "",
        f"  Ingress  {url}   (health: {url}/ready, figures: {url}/metrics)",
        f"  Flower   http://{settings.flower.host}:{settings.flower.port}",
        f"  State    {settings.state_dir}",
        "",
        "Try next, in another terminal:",
        "",
        "  .venv/bin/heyfleet chat",
    ]
    for adapter in settings.adapters:
        if isinstance(adapter, WebhookAdapter):
            lines += ["", *curl(settings, adapter, url)]
            break
    return "\n".join([*lines, ""])


def curl(settings: Settings, adapter: WebhookAdapter, url: str) -> list[str]:
    made = settings.state_dir / "secrets" / adapter.name
    secret = f"$(cat {made})" if adapter.secret is None else "$SECRET"
    return [
        f"  curl {url}/webhook/{adapter.name} \\",
        f'    -H "Authorization: Bearer {secret}" \\',
        '    -d \'{"user": "ada", "text": "hello", "sync": true}\'',
    ]
