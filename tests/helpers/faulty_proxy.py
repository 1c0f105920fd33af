"""A proxy before a real server that fails the way servers do, on demand."""

import inspect
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


# What to do with a request: a status with headers and body to answer, "drop" (close the connection), "die" (and never
# listen again), or None (pass on)
Fault = tuple[int, dict[str, str], bytes] | str | None


class FaultyProxy:
    """
    Passes requests on to `target`, the address of a server's API.

    Args:
        target (`str`): such as `http://127.0.0.1:8000/v1`.
        fault (`Callable`): called with the number of the POST request, from 0, its headers and, if it takes three
            arguments, its body; says what goes wrong.
        port (`int`, *optional*): by default a free one.

    Attributes:
        url (`str`): address to use in place of `target`.
        times (`list[float]`): when each POST request came.
        busiest (`int`): most POST requests at a time.
    """

    def __init__(self, target: str, fault: Callable[..., Fault], port: int = 0):
        proxy = self
        takes_body = len(inspect.signature(fault).parameters) == 3
        self.times: list[float] = []
        self.busiest = 0
        self._busy = 0
        self._dead = False
        self._lock = threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                self._pass_on(None)

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                with proxy._lock:
                    number = len(proxy.times)
                    proxy.times.append(time.monotonic())
                    proxy._busy += 1
                    proxy.busiest = max(proxy.busiest, proxy._busy)
                try:
                    wrong = (
                        fault(number, dict(self.headers), body) if takes_body else fault(number, dict(self.headers))
                    )
                    if wrong == "die":
                        proxy._dead = True
                        proxy._server.socket.close()
                    if wrong in ("drop", "die") or proxy._dead:
                        self.close_connection = True
                    elif wrong is not None:
                        self._answer(*wrong)
                    else:
                        self._pass_on(body)
                finally:
                    with proxy._lock:
                        proxy._busy -= 1

            def _pass_on(self, body):
                request = urllib.request.Request(target + self.path.removeprefix("/v1"), body)
                request.add_header("Content-Type", "application/json")
                try:
                    with urllib.request.urlopen(request, timeout=600) as answer:
                        self._answer(answer.status, {}, answer.read())
                except urllib.error.HTTPError as error:
                    self._answer(error.code, {}, error.read())

            def _answer(self, status, headers, body):
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> "FaultyProxy":
        return self

    def __exit__(self, *_) -> None:
        self.close()
