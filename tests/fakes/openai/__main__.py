"""The fake server as a program; each field of `Script` is an option that sets the default."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys

from tests.fakes.openai import listen, origin_of
from tests.fakes.openai.script import KINDS, Script, read
from tests.fakes.openai.service import Service


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.fakes.openai", description="A fake OpenAI-compatible server.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes any that is free; the address is printed")
    parser.add_argument("--api-key", help="the only key that is taken; any where unset")
    parser.add_argument("--models", default="", help="names with commas between; any where unset")
    parser.add_argument("--until-stdin-ends", action="store_true", help="stop when whoever started it is gone")
    for name in KINDS:
        parser.add_argument(f"--{name.replace('_', '-')}", dest=name, help="default of the directive of this name")
    found = vars(parser.parse_args())
    defaults = Script(**{name: read(kind, found[name]) for name, kind in KINDS.items() if found[name] is not None})
    models = frozenset(name for name in found["models"].split(",") if name)
    service = Service(defaults, found["api_key"], models)
    asyncio.run(serve(service, found["host"], found["port"], until_stdin_ends=found["until_stdin_ends"]))


async def serve(service: Service, host: str, port: int, *, until_stdin_ends: bool) -> None:
    server = await listen(service, host, port)
    print(f"listening on {origin_of(server)}", flush=True)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    if until_stdin_ends:
        asyncio.get_running_loop().add_reader(sys.stdin.fileno(), stopped.set)
    await stopped.wait()
    server.close()


if __name__ == "__main__":
    main()
