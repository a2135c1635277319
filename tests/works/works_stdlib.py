"""The rows of the standard library."""
# ruff: noqa: E501 - some calls are long

from works_child import Row
from works_page import Groups

HELPERS = r"""
import os, signal, socket, ssl
def put(s):
    path = os.path.join(os.environ["SECALLOC_WORKS"], str(os.getpid()))
    with open(path, "wb") as file:
        file.write(s)
    return path
def piped(path):  # a descriptor to read from, filled without passing through this process
    read, write = os.pipe()
    file = os.open(path, os.O_RDONLY)
    os.sendfile(write, file, 0, 32)
    os.close(file)
    os.close(write)
    return read
def sent(path):
    left, right = socket.socketpair()
    file = os.open(path, os.O_RDONLY)
    os.sendfile(left.fileno(), file, 0, 32)
    os.close(file)
    left.close()
    return right
def nobody():  # where what is sent goes nowhere
    left, right = socket.socketpair()
    nobody.kept = right
    return left
def serve():  # the address of another process, which answers with a digest of the body it got
    import hashlib
    listener = socket.create_server(("localhost", 0))
    address = "http://localhost:%d/" % listener.getsockname()[1]
    if os.fork():
        listener.close()
        return address
    os.closerange(0, listener.fileno())  # the attempt's and its parents' are not this one's to hold
    os.closerange(listener.fileno() + 1, 1000)
    signal.alarm(5)
    while True:
        peer = listener.accept()[0]
        peer.settimeout(0.1)
        got = b""
        try:
            while piece := peer.recv(9999):
                got += piece
        except TimeoutError:
            pass
        answer = hashlib.sha256(got.partition(b"\r\n\r\n")[2]).hexdigest().encode()
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 64\r\nConnection: close\r\n\r\n" + answer)
        peer.close()
def mp_from(path):
    import multiprocessing as mp
    left, right = mp.Pipe()
    if os.fork() == 0:
        with open(path, "rb") as file:
            left.send_bytes(file.read())
        os._exit(0)
    return right
def direct(path, w):  # past the page cache, which wants a page that begins as one
    import mmap, secalloc
    page = mmap.mmap(-1, 4096) if isinstance(w, bytearray) else secalloc.Arena(4096, align=4096)
    os.readv(os.open(path, os.O_RDONLY | os.O_DIRECT), [page])
    w[:] = page[:32]
def zerocopy():  # a connection whose kernel side sends the caller's own pages
    listener = socket.create_server(("localhost", 0))
    left = socket.create_connection(listener.getsockname())
    zerocopy.kept = listener.accept()[0]
    left.setsockopt(socket.SOL_SOCKET, 60, 1)  # SO_ZEROCOPY
    return left
def refused(call, *kinds):
    try:
        return call()
    except kinds as error:
        return type(error).__name__
"""

TLS = """
server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
client_side = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
client_side.check_hostname = False
client_side.verify_mode = ssl.CERT_NONE
for context in (server_side, client_side):
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AECDH-AES256-SHA:@SECLEVEL=0")
import threading
def tls():  # this end and the other, connected
    left, right = socket.socketpair()
    ends = []
    def serve():
        ends.append(server_side.wrap_socket(right, server_side=True))
    thread = threading.Thread(target=serve)
    thread.start()
    client = client_side.wrap_socket(left)
    thread.join()
    return client, ends[0]
def tls_from(path):  # an end at which the secret arrives, sent by another process
    left, right = socket.socketpair()
    if os.fork() == 0:
        right.close()
        with open(path, "rb") as file:
            server_side.wrap_socket(left, server_side=True).sendall(file.read())
        os._exit(0)
    left.close()
    return client_side.wrap_socket(right)
"""

OWN = """
import secalloc, subprocess
from pathlib import Path
def kept(path):  # as systemd has it, the file with a line end of its own
    os.environ["CREDENTIALS_DIRECTORY"] = os.path.dirname(path)
    return os.path.basename(path)
def understood(command, x, **options):  # by another program, which says no more than a sum
    sum_of = ["cksum", *command]
    said = subprocess.run(sum_of, stdout=-1, check=True, **options).stdout.split()[:2]
    with subprocess.Popen(["cksum"], stdin=-1, stdout=-1, bufsize=0) as other:
        with x.open("r") as view:
            other.stdin.write(view)
        other.stdin.close()
        return other.stdout.read().split()[:2] == said or 1 / 0
def piped_out(x):
    with secalloc.pipe(x) as fd:
        return understood([], x, stdin=fd)
def unread(x):
    with secalloc.pipe(x) as fd, secalloc.as_path(x) as path:
        return True
def by_path(x, seekable=False):
    with secalloc.as_path(x, seekable=seekable) as path:
        return understood([path], x, pass_fds=path.fds)
"""

ENCRYPTED_KEY = """-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAj5gxRpJk0grQICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEOOYK2qKpkJZLuEcyv8nHyMEgZDG
S8fObXcCnXEg0OAa25acGqrseVMm89MrYHSQ+TQSbU2GpKmuNeSrpaxmwng0ngA3
wjsE4GGUyEWP6dKOwDyO4/iuNLCcAQvIMGi7OtqTOWhnUsXDanrWl3OR3XFGHkAr
2WkiEL/KeWApEk8DFJkq9uQbuLU8zYSWiW8eP3m2j6wZYE0Bc65w5g9+woCld6Y=
-----END ENCRYPTED PRIVATE KEY-----
"""

ARENAS = "secalloc.read, or FileIO: buffering=0"

GROUPS: Groups = {
    "Python itself": (
        "import copy, pickle, marshal, json, ctypes, array\nb = bytearray(64)",
        [
            Row("memoryview(x)"),
            Row("bytes(x)", "do without: most take the arena itself"),
            Row("bytearray(x)", "secalloc.Arena(x)"),
            Row('b"".join([x, x])', "secalloc.concat"),
            Row('b"%b" % x', "secalloc.concat"),
            Row('str(x, "ascii")'),
            Row('int.from_bytes(x, "big")'),
            Row("str(x)", text=True),
            Row('f"{x}"', text=True),
            Row('"%s" % x', text=True),
            Row('"{}".format(x)', text=True),
            Row("int(x)", text=True),
            Row("float(x)"),
            Row("hash(x)"),
            Row(
                "b.__setitem__(slice(0, 32), x)",
                "memoryview(b)[i:j] = x, which copies",
                result="b",
                shown="bytearray[i:j] = x",
            ),
            Row("list(x)", "index it, x[i]"),
            Row("7 in x"),
            Row("copy.copy(x)"),
            Row("copy.deepcopy(x)", "secalloc.Arena(x)"),
            Row("pickle.dumps(x)", "secalloc.LockdownChannel hands arenas over"),
            Row("marshal.dumps(x)"),
            Row("json.dumps(x)"),
            Row('array.array("B", x)', "array.frombytes, which copies"),
            Row("ctypes.c_char_p(x)", "(ctypes.c_char * len(x)).from_buffer(x)"),
            Row("(ctypes.c_char * 32).from_buffer(x)", result="len(r)"),
            Row("(ctypes.c_char * 32).from_buffer_copy(x)", "from_buffer", result="len(r)"),
        ],
    ),
    "hashlib, hmac, secrets": (
        "import hashlib, hmac, secrets, zlib",
        [
            Row("hashlib.sha256(x)", result="r.digest()", again="r.digest()"),
            Row("hashlib.sha3_256(x)", result="r.digest()"),
            Row("hashlib.blake2b(x)", result="r.digest()"),
            Row('hashlib.blake2b(b"m", key=x)', result="r.digest()", again="r.digest()"),
            Row('hashlib.blake2s(b"m", key=x)', result="r.digest()"),
            Row('hashlib.pbkdf2_hmac("sha256", x, b"salt", 2)'),
            Row('hashlib.pbkdf2_hmac("sha256", b"pw", x, 2)'),
            Row('hashlib.scrypt(x, salt=b"s", n=2, r=1, p=1)'),
            Row('hmac.digest(x, b"m", "sha256")'),
            Row('hmac.digest(b"k", x, "sha256")'),
            Row(
                'hmac.digest(x, b"m", hashlib.blake2b)', 'the name: hmac.digest(x, b"m", "blake2b")'
            ),
            Row('hmac.new(x, b"m", "sha256")', "hmac.digest", result="r.digest()"),
            Row('hmac.new(b"k", x, "sha256")', result="r.digest()"),
            Row("hmac.compare_digest(x, bytes(32))", "secalloc.compare_digest"),
            Row("secrets.compare_digest(x, bytes(32))", "secalloc.compare_digest"),
            Row("zlib.crc32(x)"),
        ],
    ),
    "os, io, mmap": (
        HELPERS + "import io, mmap, pathlib, sys",
        [
            Row("os.write(null, x)", setup="null = os.open(os.devnull, os.O_WRONLY)"),
            Row("os.writev(null, [x, x])", setup="null = os.open(os.devnull, os.O_WRONLY)"),
            Row("os.pwrite(null, x, 0)", setup="null = os.open(os.devnull, os.O_WRONLY)"),
            Row("os.readv(piped(given), [w])", given="put(s)"),
            Row("os.preadv(os.open(given, os.O_RDONLY), [w], 0)", given="put(s)"),
            Row(
                "direct(given, w)",
                "secalloc.read",
                given="put(s)",
                shown="os.readv(a file opened with O_DIRECT, [w])",
                secretmem=True,
            ),
            Row("os.read(piped(given), 32)", "secalloc.read", given="put(s)"),
            Row('open(given, "rb", buffering=0).readinto(w)', given="put(s)"),
            Row(
                '(f := open(given, "rb")).readinto(w)',
                ARENAS,
                given="put(s)",
                shown='open(given, "rb").readinto(w)',
            ),
            Row('open(given, "rb").read()', "secalloc.read", given="put(s)"),
            Row("pathlib.Path(given).read_bytes()", "secalloc.read", given="put(s)"),
            Row('open(os.devnull, "wb", buffering=0).write(x)'),
            Row(
                "file.write(x)",
                "FileIO: buffering=0",
                shown='open(path, "wb").write(x)',
                setup='file = open(os.devnull, "wb")',
            ),
            Row("pathlib.Path(os.devnull).write_bytes(x)", "FileIO: buffering=0"),
            Row('open(os.devnull, "w").write(x)', "FileIO: buffering=0"),
            Row("io.BytesIO(x)", "do without", result="len(r.getbuffer())"),
            Row(
                "out.write(x)",
                "do without",
                shown="io.BytesIO().write(x)",
                setup="out = io.BytesIO()",
            ),
            Row(
                "page.write(x)",
                "an Arena in place of the mmap",
                shown="mmap.write(x)",
                setup="page = mmap.mmap(-1, 4096)",
            ),
            Row('os.environ.__setitem__("NAME", x)', "LockdownChannel.popen_args(secrets=...)"),
            Row("os.fsencode(x)"),
        ],
    ),
    "socket, ssl": (
        HELPERS + TLS,
        [
            Row("nobody().send(x)", shown="socket.send(x)"),
            Row("nobody().sendall(x)", shown="socket.sendall(x)"),
            Row("nobody().sendmsg([x, x])", shown="socket.sendmsg([x, x])"),
            Row(
                "zerocopy().send(x, 0x4000000)",
                "send, without the flag",
                shown="socket.send(x, MSG_ZEROCOPY)",
                secretmem=True,
            ),
            Row("sent(given).recv_into(w)", given="put(s)", shown="socket.recv_into(w)"),
            Row("sent(given).recvfrom_into(w)[0]", given="put(s)", shown="socket.recvfrom_into(w)"),
            Row(
                "sent(given).recvmsg_into([w])[0]", given="put(s)", shown="socket.recvmsg_into([w])"
            ),
            Row("sent(given).recv(32)", "recv_into", given="put(s)", shown="socket.recv(32)"),
            Row(
                'sent(given).makefile("rb", buffering=0).readinto(w)',
                given="put(s)",
                shown='socket.makefile("rb", buffering=0).readinto(w)',
            ),
            Row(
                '(f := sent(given).makefile("rb")).readinto(w)',
                "recv_into",
                given="put(s)",
                shown='socket.makefile("rb").readinto(w)',
            ),
            Row("ends[0].sendall(x)", setup="ends = tls()", shown="SSLSocket.sendall(x)"),
            Row("tls_from(given).recv_into(w)", given="put(s)", shown="SSLSocket.recv_into(w)"),
            Row(
                "tls_from(given).recv(32)", "recv_into", given="put(s)", shown="SSLSocket.recv(32)"
            ),
            Row("ssl.MemoryBIO().write(x)", "SSLSocket.sendall, over a socket"),
            Row(
                "refused(lambda: ssl.SSLContext(2).load_cert_chain(path, password=x), ssl.SSLError)",
                "a callable that gives a bytearray, then secalloc.clear",
                shown="SSLContext.load_cert_chain(path, password=x)",
                setup=f"path = put({ENCRYPTED_KEY!r}.encode())",
            ),
        ],
    ),
    "subprocess, multiprocessing, asyncio": (
        HELPERS + "import asyncio, multiprocessing as mp, multiprocessing.connection as mpc\n"
        "import subprocess, multiprocessing.shared_memory as mps",
        [
            Row(
                'subprocess.run(["true"], input=x).returncode',
                "os.write to the pipe, or LockdownChannel.popen_args(secrets=...)",
            ),
            Row(
                'subprocess.Popen(["cat"], stdin=-1, stdout=-3, bufsize=0).stdin.write(x)',
            ),
            Row(
                'subprocess.run(["true", x]).returncode',
                "LockdownChannel.popen_args(secrets=...)",
            ),
            Row("pipe[1].send_bytes(x)", "LockdownChannel", setup="pipe = mp.Pipe()"),
            Row("pipe[1].send(x)", "LockdownChannel", setup="pipe = mp.Pipe()"),
            Row(
                "mp_from(given).recv_bytes_into(w)",
                "LockdownChannel",
                given="put(s)",
                shown="Connection.recv_bytes_into(w)",
            ),
            Row(
                "refused(lambda: mpc.answer_challenge(near, x), mp.AuthenticationError)",
                shown="multiprocessing.connection.Client(..., authkey=x)",
                setup="near, far = mp.Pipe(); far.send_bytes(b'#CHALLENGE#{sha256}' + bytes(20)); "
                "far.send_bytes(b'#FAILURE#')",
            ),
            Row(
                "shared.buf.__setitem__(slice(0, 32), x)",
                "LockdownChannel",
                shown="SharedMemory.buf[:32] = x",
                setup="shared = mps.SharedMemory(create=True, size=32); shared.unlink()",
            ),
            Row(
                "asyncio.run(write(x))",
                "loop.sock_sendall",
                shown="StreamWriter.write(x)",
                setup="""
async def write(x):
    reader, writer = await asyncio.open_connection(sock=nobody())
    writer.write(x)
    await writer.drain()
""",
            ),
            Row(
                "asyncio.run(send(x))",
                shown="loop.sock_sendall(socket, x)",
                setup="""
async def send(x):
    left = nobody()
    left.setblocking(False)
    await asyncio.get_running_loop().sock_sendall(left, x)
""",
            ),
            Row(
                "asyncio.run(receive(given, w))",
                shown="loop.sock_recv_into(socket, w)",
                given="put(s)",
                setup="""
async def receive(given, w):
    end = sent(given)
    end.setblocking(False)
    return await asyncio.get_running_loop().sock_recv_into(end, w)
""",
            ),
        ],
    ),
    "encodings, archives, sqlite3": (
        "import base64, binascii, codecs, struct, zlib, bz2, lzma, gzip, zipfile, io, re, uuid\n"
        "import sqlite3, urllib.parse",
        [
            Row("base64.b64encode(x)", "secalloc.b64encode"),
            Row("base64.b64decode(x)", "secalloc.b64decode"),
            Row("base64.urlsafe_b64encode(x)", "secalloc.b64encode(x, urlsafe=True)"),
            Row("binascii.hexlify(x)", "secalloc.hexlify"),
            Row('codecs.encode(x, "hex")', "secalloc.hexlify"),
            Row('codecs.decode(x, "ascii")'),
            Row(
                "binascii.a2b_uu(x[32:])",
                "do without: it reads one byte too far",
                shown="binascii.a2b_uu(x), x empty",
            ),
            Row(
                'x.__setitem__(31, 126) or codecs.decode(x, "hz", "replace")',
                "do without: it reads one byte too far",
                shown='codecs.decode(x, "hz"), x ending in "~"',
            ),
            Row("urllib.parse.quote_from_bytes(x)"),
            Row('struct.unpack("32s", x)', "slices of the arena: x[a:b]"),
            Row('struct.pack_into("32s", w, 0, given)', "w[a:b] = data", given="s"),
            Row("zlib.compress(x)"),
            Row("zlib.decompress(given)", given="zlib.compress(s)"),
            Row("bz2.compress(x)"),
            Row("lzma.compress(x)"),
            Row("gzip.compress(x, mtime=0)"),
            Row('zipfile.ZipFile(io.BytesIO(), "w").setpassword(x)'),
            Row('re.match(b"[a-z]", x) is None'),
            Row("uuid.UUID(bytes=x[:16])", result="r.int"),
            Row(
                'db.execute("select length(?)", (x,)).fetchone()',
                setup='db = sqlite3.connect(":memory:")',
            ),
        ],
    ),
    "clients of protocols": (
        HELPERS + "import http.client, urllib.request, smtplib, imaplib, poplib, ftplib, logging",
        [
            Row(
                'web.request("POST", "/", body=x)',
                setup='web = http.client.HTTPConnection("localhost"); web.sock = nobody()',
            ),
            Row(
                'web.putheader("Authorization", x)',
                setup='web = http.client.HTTPConnection("localhost"); web.sock = nobody(); '
                'web.putrequest("GET", "/")',
            ),
            Row("urllib.request.urlopen(url, data=x).read()", setup="url = serve()"),
            Row(
                'basic.add_password(None, "http://localhost/", "u", x) or '
                'handler.retry_http_basic_auth("http://localhost/", request, "realm")',
                text=True,
                shown="urllib.request.HTTPPasswordMgr.add_password(..., x), basic authentication",
                setup="""
basic = urllib.request.HTTPPasswordMgrWithDefaultRealm()
handler = urllib.request.HTTPBasicAuthHandler(basic)
request = urllib.request.Request("http://localhost/")
request.timeout = 1
class parent:
    open = staticmethod(lambda request, **_: request.get_header("Authorization"))
handler.parent = parent
""",
            ),
            Row(
                'mail.login("user", x)',
                shown='smtplib.SMTP.login("user", x)',
                seen="nobody.kept.recv(999)",
                text=True,
                setup="""
mail = smtplib.SMTP()
mail.sock = nobody()
mail.esmtp_features = {"auth": "PLAIN"}
mail.does_esmtp, mail.ehlo_resp = True, b"ok"
mail.getreply = lambda: (235, b"ok")
""",
            ),
            Row(
                'mail.login("user", x)[1]',
                shown='imaplib.IMAP4.login("user", x)',
                text=True,
                setup="""
class Mail(imaplib.IMAP4):
    def __init__(self): self.state, self.sock = "NONAUTH", nobody()
    def _simple_command(self, *arguments): return "OK", arguments
mail = Mail()
mail._encoding = "ascii"
""",
            ),
            Row(
                "mail.pass_(x)",
                shown="poplib.POP3.pass_(x)",
                seen="nobody.kept.recv(999)",
                text=True,
                setup="""
class Mail(poplib.POP3):
    def __init__(self): self.sock, self._debugging, self.encoding = nobody(), 0, "utf-8"
    def _getresp(self): return b"+OK"
mail = Mail()
""",
            ),
            Row(
                'ftp.login("user", x)',
                shown='ftplib.FTP.login("user", x)',
                seen="nobody.kept.recv(999)",
                text=True,
                setup="""
class Ftp(ftplib.FTP):
    def __init__(self): self.sock, self.encoding = nobody(), "utf-8"
    def getresp(self): return next(self.answers)
    answers = iter(["331", "230"])
ftp = Ftp()
""",
            ),
            Row(
                'logging.getLogger().makeRecord("", 20, "", 1, "%s", (x,), None).getMessage()',
                text=True,
                shown='logging.info("%s", x)',
            ),
        ],
    ),
    "secalloc's own ways in and out": (
        HELPERS + OWN,
        [
            Row("secalloc.read(given, strip=True)", given="put(s + b'\\r\\n')"),
            Row(
                "secalloc.read(piped(given), max_size=32)",
                given="put(s)",
                shown="secalloc.read(a pipe, max_size=32)",
            ),
            Row(
                "secalloc.credential(kept(given))",
                given="put(s + b'\\n')",
                shown='secalloc.credential("name")',
            ),
            Row(
                "secalloc.write(path, x)",
                setup="path = put(b'old')",
                result="Path(path).stat().st_size",
            ),
            Row(
                "piped_out(x)",
                shown="with secalloc.pipe(x) as fd: subprocess.run(..., stdin=fd)",
            ),
            Row("unread(x)", shown="with secalloc.pipe(x) as fd: ... # nobody reads it"),
            Row(
                "by_path(x)",
                shown="with secalloc.as_path(x) as path: subprocess.run([..., path], pass_fds=path.fds)",
            ),
            Row(
                "by_path(x, seekable=True)",
                shown="with secalloc.as_path(x, seekable=True) as path: subprocess.run(...)",
            ),
            Row("x.reveal()", "do without: most take the arena itself"),
            Row('x.reveal("ascii")', "do without: most take the arena itself"),
        ],
    ),
}
