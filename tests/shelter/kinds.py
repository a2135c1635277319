"""Kinds of API that copy a secret: what each does with one; kinds_child.py looks for copies."""
# ruff: noqa: S301, S307, S603 - the table is what a program does

import array
import asyncio
import base64
import bz2
import collections
import configparser
import contextlib
import csv
import ctypes
import decimal
import email.message
import functools
import hashlib
import hmac
import html
import http.client
import importlib
import importlib.util
import io
import itertools
import json
import logging
import lzma
import os
import pickle
import random
import re
import shlex
import socket
import sqlite3
import ssl
import string
import struct
import subprocess
import sys
import tempfile
import textwrap
import threading
import tomllib
import traceback
import unicodedata
import urllib.parse
import urllib.request
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import secalloc
from secalloc import Arena


def nothing() -> None:
    """What most have to do afterwards."""


@dataclass(frozen=True)
class Kind:
    """One kind: `work` gets an arena with 32 hexadecimal digits, unless `secret` makes another.

    What it returns is dropped, then `after` is called, and then copies are looked for: of the
    secret, or of what `image` makes of it. `package` is what it needs besides. `leaves` says why a
    sheltered call leaves copies all the same, `under_run` why it does under `run`, too.
    """

    name: str
    work: Callable[[Arena], Any]
    package: str = ""
    leaves: str = ""
    under_run: str = ""
    after: Callable[[], object] = nothing
    secret: Callable[[], Arena] | None = None
    image: Callable[[Arena], Arena] | None = None


ENVIRONMENT = "setenv() of the C library keeps each value that there ever was"
NUMPY = "numpy keeps small blocks for reuse, by itself"

KINDS: list[Kind] = []


def kind(name: str, **how: Any) -> Callable[[Callable[[Arena], Any]], Callable[[Arena], Any]]:
    def add(work: Callable[[Arena], Any]) -> Callable[[Arena], Any]:
        KINDS.append(Kind(name, work, **how))
        return work

    return add


def long_token() -> Arena:
    """Of which most stays where the next object comes to lie over the freed one."""
    return secalloc.hexlify(secalloc.random(200))


def middle(s: Arena) -> Arena:
    return Arena(s[180:220])


LONG: dict[str, Any] = {"secret": long_token, "image": middle}


def text(s: Arena) -> str:
    return str(s, "ascii")


def package(name: str) -> Any:
    """A module that may be missing, and has no types."""
    return importlib.import_module(name)


# ---- what the interpreter does itself -------------------------------------------------------


@kind("bytes joined")
def joined(s: Arena) -> Any:
    return b"".join([b"key=", bytes(s), b";"])


@kind("bytes' methods", **LONG)
def methods(s: Arena) -> Any:
    return bytes(s).title().swapcase().lower().replace(b"a", b"a ").replace(b" ", b"").center(900)


@kind("bytearray grown")
def grown(s: Arena) -> Any:
    array = bytearray(bytes(s))
    for _ in range(3000):
        array += b"0123456789"
    return array


@kind("str's methods, narrow")
def narrow(s: Arena) -> Any:
    return [text(s).title().swapcase().lower().partition("g"), text(s).zfill(80), text(s) * 2]


@kind("str's methods, wide")
def wide(s: Arena) -> Any:
    return [(text(s) + "\u20ac").ljust(70, "\u20ac"), (text(s) + "\U0001f511").casefold()]


@kind("f-strings, format, %")
def formats(s: Arena) -> Any:
    return [f"<{text(s):>60}>", "{0:_<50}".format(text(s)), "%s" % text(s)]  # noqa: UP030, UP031, UP032


@kind("encode and decode")
def encodes(s: Arena) -> Any:
    return [text(s).encode("utf-16"), text(s).encode("utf-7"), bytes(s).decode("latin-1")]


@kind("UTF-8 cached in a str")
def cached_utf8(s: Arena) -> Any:
    as_utf8 = ctypes.pythonapi.PyUnicode_AsUTF8
    as_utf8.argtypes, as_utf8.restype = [ctypes.py_object], ctypes.c_void_p
    made = text(s) + "\u00e4"
    as_utf8(made)
    return made


@kind("keys of a dict")
def keys(s: Arena) -> Any:
    return dict.fromkeys([text(s), text(s) + "x"], 1) | {bytes(s): 2}


@kind("names of attributes", after=sys._clear_type_cache)
def attributes(s: Arena) -> Any:
    class Holds:
        """Whose table of names goes with it."""

    holds = Holds()
    setattr(holds, "a" + text(s), text(s))
    return holds


@kind("interned strings")
def interned(s: Arena) -> Any:
    return sys.intern(text(s) + "i")


def digits(s: Arena) -> Arena:
    """An int's memory: 30 bits in each four bytes."""
    number = int.from_bytes(bytes(s), "little")
    return Arena(b"".join(struct.pack("<I", number >> 30 * n & (1 << 30) - 1) for n in range(8)))


@kind("int.from_bytes", image=digits)
def integers(s: Arena) -> Any:
    number = int.from_bytes(bytes(s), "little")
    return [number | 1 << 300, -number, number.to_bytes(40, "big")]


def a_float() -> Arena:
    """A double's bytes, no part of them likely by chance."""
    made = secalloc.random(8)
    made[7] = 0x41
    return made


@kind("float", secret=a_float)
def floats(s: Arena) -> Any:
    number = struct.unpack("d", bytes(s))[0]
    return [abs(-number), number * 1.0, [number + 0.0 for _ in range(50)]]


@kind("generators, consumed inside", **LONG)
def generators(s: Arena) -> Any:
    def pieces() -> Any:
        secret = text(s)
        yield secret + "1"
        yield secret + "2"

    return sum(map(len, pieces()))


@kind("eval and compile")
def evaluated(s: Arena) -> Any:
    return eval(compile(f"{text(s)!r} + 'x'", "none", "eval"))


@kind("exceptions and their traces")
def exceptions(s: Arena) -> Any:
    try:
        raise KeyError(text(s))
    except KeyError:
        return traceback.format_exc()


@kind("an exception that leaves the call")
def leaves(s: Arena) -> Any:
    secret = text(s)
    raise ValueError("bad password: " + secret)


@kind("comprehensions and sorting")
def sorting(s: Arena) -> Any:
    return sorted([text(s) + str(n) for n in range(20)], key=lambda one: one[::-1])


@kind("a thread started inside", leaves="it is outside, as every thread but the caller's")
def threads(s: Arena) -> Any:
    made: list[str] = []
    thread = threading.Thread(target=lambda: made.append(text(s) + "t"))
    thread.start()
    thread.join()
    return made


# ---- data and text of the standard library --------------------------------------------------


@kind("json")
def jsons(s: Arena) -> Any:
    return json.loads(json.dumps({"token": text(s), "list": [text(s) + "\u20ac"]}))


@kind("base64")
def base64s(s: Arena) -> Any:
    return base64.b64decode(base64.b64encode(bytes(s) + b"0"))


@kind("hex")
def hexs(s: Arena) -> Any:
    return bytes.fromhex(bytes(s).hex())


@kind("pickle")
def pickles(s: Arena) -> Any:
    return pickle.loads(pickle.dumps({"token": text(s), "raw": bytes(s)}))


@kind("re")
def regular(s: Arena) -> Any:
    match = re.match(r"(\w+)=(\w+)", "key=" + text(s))
    return [match and match.groups(), re.sub("[0-9]", "#", text(s)), re.split("f", text(s))]


@kind("re, a pattern", after=re.purge)
def pattern(s: Arena) -> Any:
    return re.search(re.escape(text(s)), "no")


@kind("struct")
def structs(s: Arena) -> Any:
    return struct.unpack("32sH", struct.pack("32sH", bytes(s), 1))


@kind("io.StringIO")
def string_io(s: Arena) -> Any:
    file = io.StringIO()
    print("password", text(s), file=file)
    return file.getvalue()


@kind("io.BytesIO")
def bytes_io(s: Arena) -> Any:
    file = io.BytesIO(bytes(s))
    file.seek(0, 2)
    file.write(b"x" * 5000)
    return file.getvalue()


@kind("csv")
def csvs(s: Arena) -> Any:
    file = io.StringIO()
    csv.writer(file).writerow(["user", text(s)])
    return list(csv.reader(io.StringIO(file.getvalue())))


@kind("configparser")
def config(s: Arena) -> Any:
    parser = configparser.ConfigParser()
    parser.read_string(f"[database]\npassword = {text(s)}\n")
    return parser.get("database", "password")


@kind("tomllib")
def toml(s: Arena) -> Any:
    return tomllib.loads(f'password = "{text(s)}"')


@kind("xml.etree")
def xml(s: Arena) -> Any:
    return ElementTree.tostring(ElementTree.fromstring(f"<p>{text(s)}</p>"))  # noqa: S314


@kind("email.message")
def mail(s: Arena) -> Any:
    message = email.message.EmailMessage()
    message["Subject"] = "reset"
    message.set_content("code: " + text(s))
    return message.as_bytes()


@kind("html, textwrap, shlex, string.Template")
def escapes(s: Arena) -> Any:
    given = text(s) + " <&>"
    template = string.Template("p=$p").substitute(p=given)
    return [html.escape(given), textwrap.fill(given, 20), shlex.split(shlex.quote(given)), template]


@kind("unicodedata, NFKC")
def normalized(s: Arena) -> Any:
    return unicodedata.normalize("NFKC", text(s) + "\ufb01")


@kind("urllib.parse", after=urllib.parse.clear_cache)  # type: ignore[attr-defined]
def quoting(s: Arena) -> Any:
    query = urllib.parse.urlencode({"token": text(s) + "\u00e4 &"})
    return urllib.parse.parse_qs(urllib.parse.urlsplit("https://h/?" + query).query)


@kind("array", **LONG)
def arrays(s: Arena) -> Any:
    made = array.array("B", bytes(s))
    made.extend(made)
    return made.tobytes()


@kind("ctypes")
def foreign(s: Arena) -> Any:
    return [ctypes.create_string_buffer(bytes(s)), ctypes.c_wchar_p(text(s))]


@kind("strdup", leaves="taken from malloc")
def duplicated(s: Arena) -> Any:
    libc = ctypes.CDLL(None)
    libc.strdup.restype = ctypes.c_void_p
    libc.free(ctypes.c_void_p(libc.strdup(bytes(s))))


def decimal_text(s: Arena) -> str:
    return str(int.from_bytes(bytes(s)[:28], "little"))


def decimal_words(s: Arena) -> Arena:
    """A Decimal's memory: nineteen digits in each word."""
    number, words = int(decimal_text(s)), []
    while number:
        number, word = divmod(number, 10**19)
        words.append(word)
    return Arena(struct.pack(f"<{len(words) - 1}Q", *words[1:]))


@kind("decimal", image=decimal_words)
def decimals(s: Arena) -> Any:
    return [decimal.Decimal(decimal_text(s)) for _ in range(10)]


@functools.lru_cache
def remembers(key: str) -> str:
    return key + "!"


@kind("functools.lru_cache", after=remembers.cache_clear)
def cached(s: Arena) -> Any:
    return remembers(text(s))


@kind("collections and itertools")
def collected(s: Arena) -> Any:
    deque = collections.deque([text(s) + str(n) for n in range(100)], maxlen=50)
    return ["".join(itertools.chain(deque)), collections.Counter(deque)]


@kind("random.shuffle of a password's letters")
def shuffled(s: Arena) -> Any:
    letters = list(text(s))
    kept = "".join(letters)
    random.shuffle(letters)
    return kept


# ---- digests, compression, databases --------------------------------------------------------


@kind("hashlib", **LONG)
def hashes(s: Arena) -> Any:
    key = bytes(s)
    return [hashlib.sha256(key).digest(), hashlib.blake2b(b"m", key=key[:64]).digest()]


@kind("hmac", **LONG)
def hmacs(s: Arena) -> Any:
    return hmac.new(bytes(s), b"message", "sha256").hexdigest()


@kind("hashlib's key derivation", **LONG)
def derived(s: Arena) -> Any:
    return [
        hashlib.pbkdf2_hmac("sha256", bytes(s), b"salt", 2),
        hashlib.scrypt(bytes(s), salt=b"salt", n=16, r=8, p=1),
    ]


@kind("zlib")
def compressed(s: Arena) -> Any:
    return zlib.decompress(zlib.compress(bytes(s) * 3))


@kind("bz2")
def compressed_bz2(s: Arena) -> Any:
    return bz2.decompress(bz2.compress(bytes(s) * 3))


@kind("lzma")
def compressed_lzma(s: Arena) -> Any:
    return lzma.decompress(lzma.compress(bytes(s) * 3))


@kind("sqlite3", leaves="SQLite takes from malloc")
def sqlite(s: Arena) -> Any:
    with contextlib.closing(sqlite3.connect(":memory:")) as database:
        database.execute("create table t (name text, token text)")
        database.execute("insert into t values (?, ?)", ("me", text(s)))
        return database.execute("select token from t where name = 'me'").fetchall()


# ---- files, processes, networks -------------------------------------------------------------


@kind("logging")
def logs(s: Arena) -> Any:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logger = logging.Logger("private")
    logger.addHandler(handler)
    logger.warning("token %s", text(s))
    handler.close()
    return stream.getvalue()


@kind("files, as text")
def text_files(s: Arena) -> Any:
    with tempfile.NamedTemporaryFile("w+", suffix=".txt") as file:
        file.write(text(s))
        file.flush()
        file.seek(0)
        return file.read()


@kind("files, buffered, as bytes")
def files(s: Arena) -> Any:
    with tempfile.NamedTemporaryFile("w+b") as file:
        file.write(bytes(s))
        file.flush()
        with open(file.name, "rb") as again:
            return again.read()


@kind("os.environ", leaves=ENVIRONMENT, under_run=ENVIRONMENT)
def environment(s: Arena) -> Any:
    os.environ["SECALLOC_KIND"] = text(s)
    return os.environ.pop("SECALLOC_KIND")


TRUE = [sys.executable, "-I", "-S", "-c", ""]


@kind("subprocess, its input and output")
def subprocess_input(s: Arena) -> Any:
    return subprocess.run(["cat"], input=text(s), text=True, capture_output=True, check=True).stdout  # noqa: S607


@kind("subprocess, its arguments", **LONG)
def subprocess_arguments(s: Arena) -> Any:
    return subprocess.run(["true", text(s)], check=True).returncode  # noqa: S607


@kind("socket.socketpair")
def sockets(s: Arena) -> Any:
    left, right = socket.socketpair()
    with left, right:
        left.sendall(bytes(s))
        return right.recv(4096)


def tls_context(side: int) -> ssl.SSLContext:
    context = ssl.SSLContext(side)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("AECDH-AES256-SHA:ADH-AES256-GCM-SHA384:@SECLEVEL=0")
    return context


@kind("ssl", leaves="OpenSSL takes from malloc", **LONG)
def tls(s: Arena) -> Any:
    ends = [ssl.MemoryBIO() for _ in range(2)]
    client = tls_context(ssl.PROTOCOL_TLS_CLIENT).wrap_bio(ends[0], ends[1])
    server = tls_context(ssl.PROTOCOL_TLS_SERVER).wrap_bio(ends[1], ends[0], server_side=True)
    for _ in range(4):
        for side in (client, server):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    client.write(bytes(s))
    return server.read(4096)


SERVER = r"""
import socket, struct, threading
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
def setting(name, value):
    body = name + b"\0" + value + b"\0"
    return b"S" + struct.pack("!I", len(body) + 4) + body
def serve(peer):
    got = peer.recv(65536)
    if got[:1] == b"\0":  # PostgreSQL
        peer.sendall(b"R\0\0\0\x08\0\0\0\x03")
        peer.recv(65536)
        peer.sendall(b"R\0\0\0\x08\0\0\0\0" + setting(b"client_encoding", b"UTF8")
            + setting(b"DateStyle", b"ISO, MDY") + setting(b"server_version", b"16.0")
            + setting(b"standard_conforming_strings", b"on")
            + setting(b"integer_datetimes", b"on") + b"Z\0\0\0\x05I")
        peer.recv(65536)
    else:
        while b"\r\n\r\n" not in got:
            got += peer.recv(65536)
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
    peer.close()
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""


class Server:
    """Answers HTTP and PostgreSQL's clients, in a process of its own."""

    process: subprocess.Popen[bytes] | None = None
    port = 0

    @classmethod
    def start(cls) -> None:
        command = [sys.executable, "-I", "-S", "-c", SERVER]
        cls.process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert cls.process.stdout
        cls.port = int(cls.process.stdout.readline())

    @classmethod
    def stop(cls) -> None:
        if cls.process and cls.process.stdout:
            cls.process.kill()
            cls.process.wait()
            cls.process.stdout.close()


@kind("http.client", **LONG)
def http_client(s: Arena) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", Server.port)
    connection.request("POST", "/", headers={"Authorization": "Bearer " + text(s)})
    with contextlib.closing(connection):
        return connection.getresponse().read()


@kind("urllib.request", **LONG)
def urllib_request(s: Arena) -> Any:
    headers = {"Authorization": "Bearer " + text(s)}
    request = urllib.request.Request(f"http://127.0.0.1:{Server.port}/", headers=headers)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
        return answer.read()


@kind("asyncio", **LONG)
def asynchronous(s: Arena) -> Any:
    async def there_and_back() -> bytes:
        left, right = socket.socketpair()
        reader, _ = await asyncio.open_connection(sock=left)
        _, writer = await asyncio.open_connection(sock=right)
        writer.write(b"token " + bytes(s) + b"\n")
        got = await reader.readline()
        writer.close()
        return got

    return asyncio.run(there_and_back())


# ---- packages -------------------------------------------------------------------------------


@kind("requests", package="requests", **LONG)
def with_requests(s: Arena) -> Any:
    with package("requests").Session() as session:
        session.trust_env = False
        session.headers["Authorization"] = "Bearer " + text(s)
        return session.get(f"http://127.0.0.1:{Server.port}/").text


@kind("cryptography, raw keys", package="cryptography", leaves="OpenSSL takes from malloc")
def raw_keys(s: Arena) -> Any:
    x25519 = package("cryptography.hazmat.primitives.asymmetric.x25519")
    return x25519.X25519PrivateKey.from_private_bytes(bytes(s)).private_bytes_raw()


@kind("cryptography, PEM", package="cryptography", leaves="OpenSSL and Rust take from malloc")
def pem(s: Arena) -> Any:
    ed25519 = package("cryptography.hazmat.primitives.asymmetric.ed25519")
    names = package("cryptography.hazmat.primitives.serialization")
    key = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(s))
    return key.private_bytes(
        names.Encoding.PEM, names.PrivateFormat.PKCS8, names.NoEncryption()
    ).decode()


@kind("cryptography, AEAD", package="cryptography")
def aead(s: Arena) -> Any:
    gcm = package("cryptography.hazmat.primitives.ciphers.aead").AESGCM(bytes(s))
    return gcm.decrypt(b"n" * 12, gcm.encrypt(b"n" * 12, bytes(s), b""), b"")


@kind("PyNaCl, box", package="nacl", leaves="cffi takes from malloc")
def box(s: Arena) -> Any:
    public = package("nacl.public")
    key = public.PrivateKey(bytes(s))
    sealed = public.Box(key, key.public_key)
    return sealed.decrypt(sealed.encrypt(bytes(s)))


@kind("PyNaCl, sign", package="nacl")
def sign(s: Arena) -> Any:
    key = package("nacl.signing").SigningKey(bytes(s))
    return [key.sign(b"message").signature, key]


@kind("psycopg2", package="psycopg2", leaves="libpq takes from malloc")
def database(s: Arena) -> Any:
    package("psycopg2").connect(
        host="127.0.0.1",
        port=Server.port,
        user="me",
        password=text(s),
        sslmode="disable",
        gssencmode="disable",
    ).close()


@kind("numpy", package="numpy", leaves=NUMPY, under_run=NUMPY)
def numeric(s: Arena) -> Any:
    made = package("numpy").frombuffer(bytes(s), "u1")
    return [made.copy(), made.tolist(), (made + 0).tobytes()]


@kind("orjson", package="orjson")
def fast_json(s: Arena) -> Any:
    orjson = package("orjson")
    return orjson.loads(orjson.dumps({"token": text(s), text(s): 1}))


@functools.cache
def model() -> Any:
    pydantic = package("pydantic")
    fields = {"token": (pydantic.SecretStr, ...), "name": (str, ...)}
    return pydantic.create_model("Login", **fields)


@kind("pydantic", package="pydantic", leaves="Rust takes from malloc")
def validated(s: Arena) -> Any:
    made = model().model_validate_json(json.dumps({"token": text(s), "name": text(s)}))
    return [made.token.get_secret_value(), made.model_dump_json()]


def is_there(one: Kind) -> bool:
    return not one.package or importlib.util.find_spec(one.package) is not None
