"""A small HTTP server in threads of its own, for probes and scrapes: GET and HEAD, a request a connection.

The threads are few, and so are the connections that wait for one. A client that sends nothing, or too slowly, is cut
off.
"""

import errno
import logging
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from eventlib.errors import InvalidArgument

log = logging.getLogger("eventlib")

THREADS = 6
WAITING_MAX = 32  # connections that are served or wait for a thread; more are closed at once
_CLIENT_S = 2.0  # a client may be silent for so long
_REQUEST_S = 10.0  # and take so long for its request: one that sends a byte now and then would hold a thread
_STOP_S = 0.1  # the longest time until the server notices that it is to stop

Answering = Callable[[str, str], "Answer"]  # takes a path and the Accept header


class Answer(NamedTuple):
    """The answer to a request."""

    status: int
    content_type: str
    body: bytes


def not_found(paths: Sequence[str]) -> Answer:
    """The answer to a path that is unknown."""
    return Answer(404, "text/plain; charset=utf-8", f"not found; there are {', '.join(paths)}\n".encode())


class HealthServer:
    """Serves until it is closed. `port` is the port that it has, `url` what its paths follow.

    Raises:
        InvalidArgument: the port is in use, or the host is none of this machine's.
    """

    def __init__(self, answering: Answering, port: int, host: str, where: str = "serve_health") -> None:
        try:
            self._server = _Server(answering, port, host)
        except (OSError, OverflowError, TypeError) as error:
            raise InvalidArgument(where, _refusal(error, host, port)) from None
        self.port: int = self._server.server_address[1]
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{self.port}"
        serve = self._server.serve_forever
        self._thread = threading.Thread(target=serve, args=(_STOP_S,), name="eventlib-health", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop, when the requests under way are answered. Closing twice does no harm."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _refusal(error: Exception, host: str, port: object) -> str:
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is in use; give another one, or 0 for a free one"
    return (
        f"cannot listen on port {port!r} of {host!r} ({error}); give a port from 0 to 65535, and a host of this machine"
    )


class _Server(socketserver.TCPServer):
    allow_reuse_address = True
    request_queue_size = WAITING_MAX

    def __init__(self, answering: Answering, port: int, host: str) -> None:
        self.answering = answering
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._slots = threading.Semaphore(WAITING_MAX)
        self._begun: dict[socket.socket, float] = {}  # when each connection was made
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="eventlib-health")
        super().__init__((host, port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve it in a thread of the pool."""
        if not self._slots.acquire(blocking=False):
            self.shutdown_request(request)
            return
        self._begun[request] = time.monotonic()
        self._pool.submit(self._serve, request, client_address)

    def service_actions(self) -> None:
        """Cut off those who take too long. This is called several times a second."""
        begun_before_s = time.monotonic() - _REQUEST_S
        for request, begun_s in self._begun.copy().items():
            if begun_s < begun_before_s:
                with suppress(OSError):  # it has ended meanwhile
                    request.shutdown(socket.SHUT_RD)

    def _serve(self, request: Any, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
        except OSError:  # the client went away
            pass
        except Exception:
            log.exception("a request for health or metrics failed")
        finally:
            self._begun.pop(request, None)
            self.shutdown_request(request)
            self._slots.release()

    def server_close(self) -> None:
        super().server_close()
        self._pool.shutdown(cancel_futures=True)
        for request in self._begun.copy():  # no thread will serve these
            self.shutdown_request(request)


class _Handler(BaseHTTPRequestHandler):
    timeout = _CLIENT_S
    server: _Server

    def do_GET(self) -> None:
        """Answer."""
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        """Answer without the body."""
        self._answer(with_body=False)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse a request in plain text. A method that is not served is no defect of the server."""
        if code == HTTPStatus.NOT_IMPLEMENTED:
            self._send(Answer(405, "text/plain; charset=utf-8", b"only GET and HEAD\n"), with_body=True)
        else:
            super().send_error(code, message, explain)

    def _answer(self, *, with_body: bool) -> None:
        answer = self.server.answering(urlsplit(self.path).path, self.headers.get("Accept", ""))
        self._send(answer, with_body=with_body)

    def _send(self, answer: Answer, *, with_body: bool) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Cache-Control", "no-store")
        if answer.status == 405:
            self.send_header("Allow", "GET, HEAD")
        self.end_headers()
        if with_body:
            self.wfile.write(answer.body)

    def version_string(self) -> str:
        """The Server header. No stranger needs to know versions."""
        return "eventlib"

    def log_message(self, format: str, *args: Any) -> None:
        """A probe every few seconds is no news."""
        log.debug("health: " + format, *args)
