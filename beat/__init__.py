"""Celery beat with heyfleet's scheduler: any number may run, one leads."""

from app import lean  # noqa: F401 (before anything else is loaded)
