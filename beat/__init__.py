"""Celery beat with heyfleet's scheduler: any number may run, one leads."""
