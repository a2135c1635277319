"""An HTTPS service that signs, and takes up new keys without losing a request.

    SECALLOC_CREDENTIALS=/etc/service python examples/service.py 8443 chain.pem

The private key, `tls.key`, and the signing key, `signing.key` of 32 bytes, are credentials: files
where systemd, Docker or Kubernetes put them, or in the folder above. `GET /sign/TEXT` answers with
HMAC-SHA256 of TEXT. Renew the files, then send SIGHUP: requests that are under way end as they
began, and the next ones have the new keys. SIGTERM lets them end, too.

The signing key is sealed but while it signs. OpenSSL keeps a copy of the private key of its own for
as long as its context lives; what is not left is the file's text, in this process or anywhere.
"""

import hmac
import signal
import socket
import ssl
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import secalloc

WAITED_FOR = {signal.SIGHUP, signal.SIGTERM, signal.SIGINT}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 10  # seconds without a request, and the connection is closed
    server: "Service"

    def do_GET(self) -> None:
        where, _, text = self.path[1:].partition("/")
        if where != "sign":
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        with self.server.signing.open("r") as key:  # a wipe in here is an error, no wrong answer
            body = hmac.digest(key, text.encode(), "sha256").hex().encode()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


class Service(ThreadingHTTPServer):
    daemon_threads = False  # server_close() waits for the requests that are under way
    request_queue_size = 128

    def __init__(self, port: int, chain: str) -> None:
        self.chain = chain
        self.signing = secalloc.Arena(32, name="signing key")
        self.signing.seal()
        self.load()
        super().__init__(("", port), Handler)

    def load(self) -> None:
        """Take up the keys that are there now. On an error the old ones stay."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with (
            secalloc.credential("tls.key") as private,
            secalloc.as_path(private) as path,  # load_cert_chain wants a path
            secalloc.credential("signing.key", strip=False) as signing,
        ):
            context.load_cert_chain(self.chain, path)
            self.signing.replace(signing, timeout=10)  # whole, when nobody is signing
        self.context = context  # for the connections from now on

    def finish_request(self, request: Any, client_address: Any) -> None:
        """In the connection's own thread: who is slow to shake hands keeps nobody waiting."""
        request.settimeout(Handler.timeout)
        request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self.context.wrap_socket(request, server_side=True) as connection:
            super().finish_request(connection, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        print(f"{client_address}: {sys.exc_info()[1]!r}", file=sys.stderr)


def main() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, WAITED_FOR)  # for this thread and all to come
    with Service(int(sys.argv[1]), sys.argv[2]) as service:
        threading.Thread(target=service.serve_forever).start()
        print(f"https://localhost:{service.server_port}", flush=True)
        while signal.sigwait(WAITED_FOR) == signal.SIGHUP:
            try:
                service.load()
                print("new keys", flush=True)
            except (OSError, ValueError) as error:
                print(f"still the old keys: {error}", flush=True)
        service.shutdown()


if __name__ == "__main__":
    main()
