"""A chat endpoint on this machine that can be slow, overloaded, broken or mad, and that keeps count of everything."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Act:
    """What the server does with one request.

    Attributes:
        text: the answer; None to say the asker's own words again.
        status: of the response.
        headers: further ones.
        body: sent as it is instead of a chat completion.
        usage: the tokens that it claims; None for no word of them.
        after_s: how long it takes.
        drop: close the connection without a word.
    """

    text: str | None = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: str | None = None
    usage: dict[str, Any] | None = field(default_factory=lambda: {"prompt_tokens": 100, "completion_tokens": 10})
    after_s: float = 0.0
    drop: bool = False


@dataclass(frozen=True)
class Asked:
    """One request as it came in. ``time`` is in seconds of an arbitrary clock."""

    body: dict[str, Any]
    headers: dict[str, str]
    time: float

    @property
    def text(self) -> str:
        """The words of the last message."""
        content = self.body["messages"][-1]["content"]
        return content if isinstance(content, str) else content[-1]["text"]


class FakeEndpoint(ThreadingHTTPServer):
    """The server.

    Args:
        plan: says for each request what to do; its number counts from 0 in the order of arrival.
    """

    daemon_threads = True

    def __init__(self, plan: Callable[[int, Asked], Act]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.plan = plan
        self.lock = threading.Lock()
        self.asked: list[Asked] = []
        self.answered: list[str] = []
        self.at_once = 0
        self.most_at_once = 0

    @property
    def url(self) -> str:
        """What to give as the base URL."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    @property
    def n_asked(self) -> int:
        with self.lock:
            return len(self.asked)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of connections that the other side gave up."""


class _Handler(BaseHTTPRequestHandler):
    server: FakeEndpoint
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answer a chat request as the plan says."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        asked = Asked(body, dict(self.headers), time.monotonic())
        with self.server.lock:
            number = len(self.server.asked)
            self.server.asked.append(asked)
            self.server.at_once += 1
            self.server.most_at_once = max(self.server.most_at_once, self.server.at_once)
        act = self.server.plan(number, asked)
        time.sleep(act.after_s)
        with self.server.lock:
            self.server.at_once -= 1
            if act.status == 200 and act.body is None and not act.drop:
                self.server.answered.append(asked.text)
        if act.drop:
            self.close_connection = True
            return
        self._send(act, asked)

    def _send(self, act: Act, asked: Asked) -> None:
        completion: dict[str, Any] = {
            "id": "chatcmpl-0",
            "object": "chat.completion",
            "created": 0,
            "model": asked.body["model"],
            "choices": [
                {
                    "index": 0,
                    "finish_reason": "stop",
                    "message": {"role": "assistant", "content": act.text if act.text is not None else asked.text},
                }
            ],
        }
        if act.usage is not None:
            completion["usage"] = act.usage
        data = (act.body if act.body is not None else json.dumps(completion)).encode()
        self.send_response(act.status)
        for name, value in {"Content-Type": "application/json", **act.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""


@contextmanager
def serve(plan: Callable[[int, Asked], Act] = lambda number, asked: Act()) -> Iterator[FakeEndpoint]:
    """Run a server with this plan."""
    server = FakeEndpoint(plan)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
