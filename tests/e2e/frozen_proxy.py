"""A proxy between one process and Redis whose connections can be frozen: they stay, and nothing goes through them."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


class FrozenProxy:
    """Listens on a port of its own. `freeze` stops every connection there is; new ones work."""

    def __init__(self, host: str, port: int) -> None:
        self.upstream = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._generation = 0
        self._frozen_up_to = -1
        threading.Thread(target=self._accept, daemon=True).start()

    def freeze(self) -> None:
        self._frozen_up_to = self._generation
        self._generation += 1

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self.upstream)
            mine = self._generation
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(source, target, mine), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, mine: int) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if mine <= self._frozen_up_to:
                    # As a path that died without a word: what is sent is taken, and never arrives.
                    continue
                target.sendall(data)
        if mine > self._frozen_up_to:
            for end in (source, target):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
