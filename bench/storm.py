"""The harm of a chaos run: processes are killed, Redis is emptied, both servers are restarted, one thing at a time."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass, field

import redis

from app.errors import Permanent
from bench.processes import tree
from bench.rig import Servers
from bench.takeover import Takeovers
from tests.e2e.fleet import Fleet, Process

DECK = ("web", "web", "worker", "worker", "worker", "runner", "runner", "beat")
PAUSED = ("worker paused", "runner paused")
"""For longer than a lease: what it holds is taken over, and it goes on as if nothing had happened."""
SERVERS = ("redis flushed", "redis killed", "postgres restarted", "postgres killed")
KINDS = tuple(f"{kind} killed" for kind in dict.fromkeys(DECK)) + PAUSED + SERVERS
LEAST_GAP, MOST_GAP = 5.0, 40.0
LONGEST_ABSENCE = 3.0
"""Seconds until what was killed is started again."""
START_AGAIN_WITHIN = 30.0


@dataclass
class Storm:
    """One run's faults. Runs in the thread that started the servers: they end with it."""

    fleet: Fleet
    servers: Servers
    takeovers: Takeovers
    seed: int
    lease: float
    """Seconds that a lease lasts."""
    happened: Counter[str] = field(default_factory=Counter)
    log: list[str] = field(default_factory=list)
    """Each fault with its time, in seconds from the beginning."""
    killed: set[int] = field(default_factory=set)

    def rage(self, seconds: float) -> None:
        """Do harm for so long, and until each kind of it was done once."""
        chance = random.Random(self.seed)
        started = time.monotonic()
        whole = [f"{kind} killed" for kind in DECK] + [*PAUSED, *SERVERS]
        # Short runs get the same faults, closer together.
        lasting = len(whole) * LONGEST_ABSENCE / 2 + len(PAUSED) * self.lease
        scale = min(1.0, max(0.05, (seconds - lasting) / (len(whole) * (LEAST_GAP + MOST_GAP) / 2)))
        while True:
            chance.shuffle(whole)
            for kind in whole:
                time.sleep(chance.uniform(LEAST_GAP, MOST_GAP) * scale)  # random gaps are what makes it a storm
                if time.monotonic() - started > seconds and all(self.happened[kind] for kind in KINDS):
                    return
                self.log.append(f"{time.monotonic() - started:6.1f} s  {kind}")
                self.harm(kind, chance)
                self.happened[kind] += 1

    def ended_by_themselves(self) -> list[str]:
        """Processes that are gone and that nobody killed."""
        gone = [process for process in self.fleet.processes if not process.alive]
        return [
            f"{process.log.name}: the {process.kind} ended by itself (exit code {process.popen.returncode})"
            for process in gone
            if process.popen.pid not in self.killed
        ]

    def harm(self, kind: str, chance: random.Random) -> None:
        absence = chance.uniform(0, LONGEST_ABSENCE)
        match kind:
            case "redis flushed":
                with redis.Redis.from_url(self.servers.redis.url) as client:
                    client.flushall()
            case "redis killed":
                os.kill(self.servers.redis_pid, signal.SIGKILL)
                time.sleep(absence)  # this is how long it stays away
                self.started_again("redis")
            case "postgres restarted":
                self.servers.postgres.stop()
                time.sleep(absence)  # this is how long it stays away
                self.started_again("postgres")
            case "postgres killed":
                os.kill(self.servers.postgres_pid, signal.SIGKILL)
                time.sleep(absence)  # this is how long it stays away
                self.started_again("postgres")
            case "worker paused" | "runner paused":
                victim = self.victim(kind.partition(" ")[0], chance).popen
                victim.send_signal(signal.SIGSTOP)
                time.sleep(self.lease + absence)  # longer than its leases: that is the fault
                victim.send_signal(signal.SIGCONT)
            case _:
                self.kill(self.victim(kind.partition(" ")[0], chance), chance, absence)

    def victim(self, kind: str, chance: random.Random) -> Process:
        """Mostly the one that a kill hurts most."""
        processes = self.fleet.of(kind)
        if not processes:
            raise RuntimeError(f"no {kind} is left: {'; '.join(self.ended_by_themselves())}")
        busiest = self.takeovers.busiest(kind)
        hurt = [process for process in processes if process.popen.pid == busiest]
        return hurt[0] if hurt and chance.random() < 0.75 else chance.choice(processes)

    def kill(self, process: Process, chance: random.Random, absence: float) -> None:
        pids = tree(process.popen.pid)
        if process.kind == "web" and len(pids) > 1 and chance.random() < 0.5:
            os.kill(chance.choice(pids[1:]), signal.SIGKILL)  # its master starts another
            return
        self.takeovers.killed(process.kind, process.popen.pid)
        # gunicorn's children go with their master, as with a machine; a command in a sandbox lives on, as without.
        self.killed.add(process.popen.pid)
        for pid in pids if process.kind == "web" else pids[:1]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.popen.wait()
        time.sleep(absence)
        self.fleet.again(process)

    def started_again(self, name: str) -> None:
        """Start a server where it was. A killed Postgres refuses for as long as one of its children still works."""
        server = self.servers.postgres if name == "postgres" else self.servers.redis
        url, deadline = server.url, time.monotonic() + START_AGAIN_WITHIN
        while True:
            try:
                server.start()
                break
            except Permanent:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)  # until the deadline: its old children end when they end
        if server.url != url:
            raise RuntimeError(f"{name} came back at another address: its port was taken meanwhile")
