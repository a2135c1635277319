"""What secalloc costs programs like those in examples/: interleaved rounds of one run, as ratios.

    make bench-examples

AES-GCM of 1 GiB, in pieces of 1 MiB, and the requests of examples/service.py a second, beside the
same service with its key in bytes. A round takes each way once, and the least of all rounds is
compared, as others use the machine: of processor time, and for the service on the clock, too.
"""

import datetime
import hmac
import http.client
import os
import platform
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import secalloc

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
import service

ROUNDS = int(sys.argv[2]) if sys.argv[1:2] == ["--rounds"] else 9
PIECE, PIECES = 1 << 20, 1 << 10
REQUESTS, CONNECTIONS = 200, 20  # in a round, of which the service has ten times as many
BAR = 0.97


# ---- AES-GCM ---------------------------------------------------------------------------------


def ciphers() -> dict[str, Callable[[], None]]:
    key = secalloc.random(32)
    sealed = secalloc.Arena(key)
    sealed.seal()
    plain, out = bytearray(os.urandom(PIECE)), bytearray(PIECE + 16)
    within = secalloc.Arena(plain)
    copy = bytes(key)
    from_bytes, from_arena = AESGCM(copy), AESGCM(memoryview(key))

    def gibibyte(cipher: AESGCM, data: bytearray | memoryview) -> None:
        for number in range(PIECES):
            cipher.encrypt_into(number.to_bytes(12, "big"), data, None, out)

    def anew() -> None:
        for number in range(PIECES):
            AESGCM(copy).encrypt_into(number.to_bytes(12, "big"), plain, None, out)

    def opened() -> None:
        for number in range(PIECES):
            with sealed.open("r") as view:
                AESGCM(memoryview(view)).encrypt_into(number.to_bytes(12, "big"), plain, None, out)

    return {
        "bytes": lambda: gibibyte(from_bytes, plain),
        "an arena's key": lambda: gibibyte(from_arena, plain),
        "an arena's key, and the text in another": lambda: gibibyte(from_arena, memoryview(within)),
        "bytes, a cipher for each MiB": anew,
        "a sealed key, opened for a cipher for each MiB": opened,
    }


def bench_ciphers() -> None:
    ways = ciphers()
    took: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(ROUNDS):
        for way, run in ways.items():
            begin = time.process_time()
            run()
            took[way].append(time.process_time() - begin)
    least = {way: min(times) for way, times in took.items()}
    names = list(ways)
    for way, beside, bar in (
        (names[1], names[0], f"at least {BAR}"),
        (names[2], names[0], f"at least {BAR}"),
        (names[4], names[3], ""),
    ):
        print(
            f"| AES-GCM of 1 GiB, {way} : {beside}, GiB/s | {1 / least[way]:.2f} : "
            f"{1 / least[beside]:.2f} | {least[beside] / least[way]:.3f} | {bar} |",
            flush=True,
        )


# ---- the service -----------------------------------------------------------------------------


class PlainHandler(service.Handler):
    """As its base, with a key in bytes."""

    server: "Plain"

    def do_GET(self) -> None:
        text = self.path[1:].partition("/")[2]
        body = hmac.digest(self.server.key, text.encode(), "sha256").hex().encode()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Plain(service.Service):
    """The service as one would have it without secalloc."""

    def load(self) -> None:
        self.RequestHandlerClass = PlainHandler
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain("chain.pem", "tls.key")
        self.key = Path("signing.key").read_bytes()


def serve(kind: str) -> None:
    """In a process of its own: tells its port, and for each line its processor time."""
    made: service.Service = {"with": service.Service, "without": Plain}[kind](0, "chain.pem")
    if isinstance(made, Plain):
        made.RequestHandlerClass = PlainHandler
    threading.Thread(target=made.serve_forever, daemon=True).start()
    print(made.server_port, flush=True)
    for _ in sys.stdin:
        print(time.process_time(), flush=True)
    os._exit(0)


class Served:
    """One of the two, and what its requests took."""

    def __init__(self, kind: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-P", __file__, "serve", kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "SECALLOC_CREDENTIALS": os.getcwd()},
        )
        self.port = int(self.line())
        self.context = ssl.create_default_context(cafile="chain.pem")
        self.clock: list[float] = []
        self.processor: list[float] = []

    def line(self) -> str:
        return self.process.stdout.readline() if self.process.stdout else ""

    def used(self) -> float:
        print(file=self.process.stdin, flush=True)
        return float(self.line())

    def ask(self, count: int, each: int) -> None:
        """So many requests, `each` on a connection."""
        before, begin = self.used(), time.perf_counter()
        for _ in range(count // each):
            connection = http.client.HTTPSConnection("localhost", self.port, context=self.context)
            for _ in range(each):
                connection.request("GET", "/sign/me")
                if connection.getresponse().read() == b"":
                    raise EOFError
            connection.close()
        self.clock.append((time.perf_counter() - begin) / count)
        self.processor.append((self.used() - before) / count)


def certificate() -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
    signed = (
        x509.CertificateBuilder(name, name, private.public_key(), 1, now - day, now + day)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(private, hashes.SHA256())
    )
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    Path("tls.key").write_bytes(private.private_bytes(serialization.Encoding.PEM, *form))
    Path("chain.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    Path("signing.key").write_bytes(os.urandom(32))


def bench_service(what: str, count: int, each: int) -> None:
    ours, theirs = Served("with"), Served("without")
    for served in (ours, theirs):
        served.ask(count, each)  # warm
        served.clock.clear(), served.processor.clear()
    for n in range(10 * ROUNDS):
        for served in (ours, theirs) if n % 2 else (theirs, ours):
            served.ask(count, each)
    for served in (ours, theirs):
        served.process.kill()
        served.process.communicate()
    for unit, a, b in (
        ("of processor time", min(ours.processor), min(theirs.processor)),
        ("on the clock", min(ours.clock), min(theirs.clock)),
    ):
        print(
            f"| {what}, a second {unit}, with secalloc : without | "
            f"{1 / a:.0f} : {1 / b:.0f} | {b / a:.3f} | |"
        )


def main() -> None:
    print("| what | figures | ratio | bar |\n| --- | --- | --- | --- |")
    bench_ciphers()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        certificate()
        bench_service("requests on a connection that is kept", REQUESTS, REQUESTS)
        bench_service("requests with a connection each", CONNECTIONS, 1)
        os.chdir("/")
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line for line in lines if "model name" in line), "")
    print(
        f"\n{model.partition(': ')[2] or platform.machine()}, {os.cpu_count()} processors, "
        f"Linux {platform.release()}, CPython {platform.python_version()}, {ROUNDS} rounds, "
        f"{datetime.date.today()}."
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(sys.argv[2])
    else:
        main()
