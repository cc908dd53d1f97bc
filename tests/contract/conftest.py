"""The databases of the tests in `tests/db`: guarded, and empty for each test."""

from tests.db.conftest import database_url, db, guarded_database

__all__ = ["database_url", "db", "guarded_database"]
