"""Embedded Postgres and Redis for local runs, and the addresses of both, embedded or not."""
