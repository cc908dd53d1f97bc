"""The yardstick of Postgres: commits per second that this machine's disk and Postgres can do, by `pgbench`."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from sqlalchemy import make_url

from app.db import Database
from app.services.programs import postgres_programs

TABLE = """
    CREATE TABLE IF NOT EXISTS bench_commit (id bigint PRIMARY KEY, n bigint NOT NULL DEFAULT 0)"""
ROWS = "INSERT INTO bench_commit (id) SELECT generate_series(1, 1000) ON CONFLICT DO NOTHING"
SCRIPT = "\\set row random(1, 1000)\nUPDATE bench_commit SET n = n + 1 WHERE id = :row;\n"


def measure(url: str, folder: Path, *, clients: int = 8, seconds: int = 5) -> float:
    """One-row updates committed per second by `clients` at once."""
    db = Database(url, name="bench", pool_size=1)
    try:
        db.rows(TABLE)
        db.rows(ROWS)
    finally:
        db.close()
    script = folder / "commit.sql"
    script.write_text(SCRIPT)
    at = make_url(url)
    pgbench = postgres_programs(None).postgres.with_name("pgbench")
    command = [str(pgbench), "--no-vacuum", "--protocol=prepared", f"--client={clients}", f"--time={seconds}"]
    command += [f"--file={script}", f"--host={at.host}", f"--port={at.port}", f"--username={at.username}"]
    ran = subprocess.run(
        [*command, str(at.database)],
        env={"PATH": os.environ["PATH"], "PGPASSWORD": at.password or ""},
        capture_output=True,
        text=True,
        timeout=seconds + 60,
        check=False,
    )
    found = re.search(r"tps = ([\d.]+)", ran.stdout)
    if not found:
        raise RuntimeError(f"pgbench failed: {ran.stderr.strip() or ran.stdout.strip()}")
    return float(found.group(1))
