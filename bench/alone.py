"""What the load generator can do by itself: `python -m bench.alone`, against a server that does nothing but answer."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import uuid

from app.adapters.webhook.adapter import signature
from bench.load import Load, closed, run
from bench.wire import Client, answer_with, serve

SECRET = "of nobody"


def measure(turns: int = 5000, at_once: int = 50) -> Load:
    """Turns of a server in a process of its own that accepts and calls back at once."""
    server = subprocess.Popen([sys.executable, "-m", "bench.alone", "--serve"], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        return run([port], SECRET, lambda target: closed(target, "hello", turns, at_once))
    finally:
        server.terminate()
        server.wait()
        if server.stdout is not None:
            server.stdout.close()


async def answer_everything() -> None:
    client = Client(100, 10)
    under_way = set[asyncio.Task[object]]()

    def handler(_head: bytes, body: bytes) -> bytes:
        asked, turn = json.loads(body), str(uuid.uuid4())
        outcome = {"ok": True, "threadId": "t", "runId": turn, "status": "done", "text": asked["text"]}
        raw = json.dumps(outcome).encode()
        headers = f"X-Heyfleet-Delivery: {turn}\r\nX-Heyfleet-Signature: {signature(raw, [SECRET], 0)}\r\n".encode()
        port = int(asked["replyUrl"].split(":")[2].partition("/")[0])
        task = asyncio.ensure_future(client.post(port, "/callback", raw, headers))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
        return answer_with(202, json.dumps({"ok": True, "threadId": "t", "runId": turn, "status": "running"}).encode())

    server, port = await serve(handler)
    print(port, flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    if "--serve" in sys.argv:
        asyncio.run(answer_everything())
    else:
        alone = measure()
        print(f"{alone.per_second:.0f} turns/s, {alone.bad or 'none bad'}")
