"""Celery entry points, thin: each task takes one lane's id, and the lane's row says what there is to do."""

from app import lean  # noqa: F401 (before anything else is loaded)
