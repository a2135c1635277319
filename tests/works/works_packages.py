"""The rows of packages, in the versions of the group "works" in pyproject.toml."""
# ruff: noqa: E501 - some calls are long

from works_child import Row
from works_page import Groups
from works_stdlib import HELPERS

KEY = "bytes(range(32))"
CRYPTO = """
from cryptography.hazmat.primitives import cmac, constant_time, hashes, hmac, keywrap, padding
from cryptography.hazmat.primitives import poly1305, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, x25519
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import (
    AESCCM, AESGCM, AESGCMSIV, AESSIV, AESOCB3, ChaCha20Poly1305)
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.kdf.x963kdf import X963KDF
from cryptography.hazmat.primitives.twofactor.hotp import HOTP
from cryptography.fernet import Fernet
import base64
K, N, SHA = bytes(range(32)), bytes(12), hashes.SHA256()
hkdf = lambda: HKDF(SHA, 32, b"salt", b"info")
argon = lambda: Argon2id(salt=b"saltsalt", length=32, iterations=1, lanes=1, memory_cost=64)
scrypt = lambda: Scrypt(b"salt", 32, 2, 1, 1)
pbkdf2 = lambda: PBKDF2HMAC(SHA, 32, b"salt", 2)
point = x25519.X25519PrivateKey.from_private_bytes(K).public_key()
pem = ed25519.Ed25519PrivateKey.from_private_bytes(K).private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
    serialization.BestAvailableEncryption(b"secret"))
"""
ENCRYPT = 'r.encrypt(N, b"text", b"aad")'


def aead(name: str) -> list[Row]:
    if name == "AESSIV":
        use = 'r.encrypt(b"text", [b"aad"])'
        return [Row(f"{name}(x)", result=use, again=use)]
    return [
        Row(f"{name}(x)", result=ENCRYPT, again=ENCRYPT),
        Row(f"{name}(K).encrypt(N, x, None)", f"{name}.encrypt_into"),
        Row(
            f"{name}(K).decrypt(N, given, None)",
            f"{name}.decrypt_into",
            given=f"{name}(K).encrypt(N, s, None)",
        ),
        Row(f"{name}(K).decrypt_into(N, given, None, w)", given=f"{name}(K).encrypt(N, s, None)"),
    ]


def kdf(name: str) -> list[Row]:
    return [
        Row(f"{name}().derive(x)", "derive_into"),
        Row(
            f"{name}().derive_into(given, w)",
            given="s[::-1]",
            output=f"{name}().derive(given)",
        ),
    ]


CBC = "r.encryptor().update(bytes(16))"

GROUPS: Groups = {
    "cryptography": (
        CRYPTO,
        [
            *aead("AESGCM"),
            *aead("ChaCha20Poly1305"),
            *aead("AESCCM"),
            *aead("AESGCMSIV"),
            *aead("AESSIV"),
            *aead("AESOCB3"),
            Row("Cipher(algorithms.AES(x), modes.CBC(bytes(16)))", result=CBC, again=CBC),
            Row("Cipher(algorithms.AES(x), modes.GCM(N))", result=CBC, again=CBC),
            Row("Cipher(algorithms.ChaCha20(x, bytes(16)), None)", result=CBC, again=CBC),
            Row(
                "Cipher(algorithms.AES(x), modes.CTR(bytes(16))).encryptor()",
                result="len(r.update(bytes(16)))",
                again="len(r.update(bytes(16)))",
            ),
            Row(
                "Cipher(algorithms.AES(K), modes.CTR(bytes(16))).decryptor().update_into(given, w)",
                given="Cipher(algorithms.AES(K), modes.CTR(bytes(16))).encryptor().update(s)",
            ),
            Row(
                'Fernet(b"A" * 11 + x + b"=")',
                "AESGCM",
                result="type(r).__name__",
                shown="Fernet(x)",
            ),
            Row("hmac.HMAC(x, SHA)", result="r.copy().finalize()", again="r.copy().finalize()"),
            Row(
                "cmac.CMAC(algorithms.AES(x))",
                result="r.copy().finalize()",
                again="r.copy().finalize()",
            ),
            Row("poly1305.Poly1305.generate_tag(x, b'm')"),
            Row("hashes.Hash(SHA).update(x)"),
            *kdf("hkdf"),
            *kdf("pbkdf2"),
            *kdf("scrypt"),
            *kdf("argon"),
            Row("ConcatKDFHash(SHA, 32, None).derive(x)", "derive_into"),
            Row("X963KDF(SHA, 32, None).derive(x)", "derive_into"),
            Row("keywrap.aes_key_wrap(x, K)"),
            Row("keywrap.aes_key_wrap(K, x)"),
            Row("keywrap.aes_key_unwrap(K, given)", given="keywrap.aes_key_wrap(K, s)"),
            Row(
                "x25519.X25519PrivateKey.from_private_bytes(x)",
                result="r.public_key().public_bytes_raw()",
                again="r.exchange(point)",
            ),
            Row(
                "ed25519.Ed25519PrivateKey.from_private_bytes(x)",
                result='r.sign(b"m")',
                again='r.sign(b"m")',
            ),
            Row("ed25519.Ed25519PrivateKey.from_private_bytes(K).sign(x)"),
            Row(
                "ec.derive_private_key(int.from_bytes(x, 'big'), ec.SECP384R1())",
                result="r.private_numbers().private_value",
            ),
            Row("serialization.BestAvailableEncryption(x).password"),
            Row("HOTP(x, 6, hashes.SHA1()).generate(0)"),
            Row("constant_time.bytes_eq(x, K)", "secalloc.compare_digest"),
        ],
    ),
    "PyNaCl": (
        "import nacl.secret, nacl.signing, nacl.public, nacl.hash, nacl.pwhash, nacl.bindings\n"
        "N = bytes(24)",
        [
            Row(
                "nacl.secret.SecretBox(x)",
                "cryptography's ChaCha20Poly1305",
                result='r.encrypt(b"text", N)',
            ),
            Row("nacl.secret.SecretBox(bytes(32)).encrypt(x, N)", "cryptography"),
            Row(
                "nacl.signing.SigningKey(x)",
                "cryptography's Ed25519PrivateKey",
                result='r.sign(b"m")',
            ),
            Row(
                "nacl.public.PrivateKey(x)",
                "cryptography's X25519PrivateKey",
                result="bytes(r.public_key)",
            ),
            Row('nacl.hash.blake2b(b"m", key=x)', "hashlib.blake2b"),
            Row("nacl.hash.sha256(x)", "hashlib.sha256"),
            Row("nacl.pwhash.argon2id.kdf(32, x, bytes(16), 1, 8192)", "cryptography's Argon2id"),
            Row(
                'nacl.bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(b"m", b"", N, x)',
                "cryptography's ChaCha20Poly1305",
            ),
        ],
    ),
    "pycryptodome": (
        "from Crypto.Cipher import AES, ChaCha20_Poly1305\nfrom Crypto.Hash import HMAC, SHA256\n"
        "from Crypto.Protocol.KDF import HKDF, PBKDF2, scrypt\nfrom Crypto.Util.strxor import strxor\n"
        "K, N = bytes(range(32)), bytes(12)\n"
        "gcm = lambda: AES.new(K, AES.MODE_GCM, nonce=N)",
        [
            Row(
                "AES.new(x, AES.MODE_GCM, nonce=N)",
                result='r.encrypt(b"text")',
                again="len(r.encrypt(b'text'))",
            ),
            Row(
                "AES.new(x, AES.MODE_ECB)",
                result="r.encrypt(bytes(16))",
                again="r.encrypt(bytes(16))",
            ),
            Row("ChaCha20_Poly1305.new(key=x, nonce=N)", result='r.encrypt(b"text")'),
            Row("gcm().encrypt(x)"),
            Row("gcm().decrypt(given, output=w)", given="gcm().encrypt(s)"),
            Row("gcm().decrypt(given)", "decrypt(..., output=w)", given="gcm().encrypt(s)"),
            Row("HMAC.new(x, b'm', SHA256)", result="r.digest()", again="r.digest()"),
            Row("SHA256.new(x)", result="r.digest()"),
            Row("HKDF(x, 32, b'salt', SHA256)", "cryptography's HKDF.derive_into"),
            Row("PBKDF2(x, b'salt', 32, 2, hmac_hash_module=SHA256)", "hashlib.pbkdf2_hmac"),
            Row("scrypt(x, b'salt', 32, 2, 1, 1)", "hashlib.scrypt"),
            Row("strxor(given, bytes(32), output=w)", given="s"),
        ],
    ),
    "passwords: argon2-cffi, bcrypt": (
        "import argon2, argon2.low_level as low, bcrypt\n"
        "H = argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)\n"
        "T, S = low.Type.ID, b'saltsalt'\nB = bcrypt.gensalt(4)",
        [
            Row(
                "H.hash(x, salt=S)",
                "cryptography's Argon2id",
            ),
            Row("low.hash_secret(x, S, 1, 64, 1, 32, T)", "cryptography's Argon2id.derive"),
            Row(
                "low.hash_secret_raw(x, S, 1, 64, 1, 32, T)", "cryptography's Argon2id.derive_into"
            ),
            Row("bcrypt.hashpw(x, B)", "hashlib.scrypt, or cryptography's Argon2id"),
            Row("bcrypt.checkpw(x, B + bytes(31))"),
            Row("bcrypt.kdf(x, b'salt', 32, 50)", "cryptography's Argon2id"),
        ],
    ),
    "tokens: PyJWT, itsdangerous, jwcrypto, ecdsa, PyOTP": (
        "import jwt, itsdangerous, jwcrypto.jwk, ecdsa, pyotp",
        [
            Row('jwt.encode({"a": 1}, x, "HS256")', "hmac.digest by hand"),
            Row("itsdangerous.Signer(x).sign(b'm')", "hmac.digest by hand"),
            Row('jwcrypto.jwk.JWK(kty="oct", k=x)', result="r.thumbprint()"),
            Row(
                "ecdsa.SigningKey.from_string(x, ecdsa.NIST256p, hashfunc=__import__('hashlib').sha256)",
                "cryptography",
                result="r.sign_deterministic(b'm')",
            ),
            Row("pyotp.TOTP(x).at(0)", "cryptography's TOTP", text=True),
        ],
    ),
    "paramiko": (
        HELPERS + "import paramiko, paramiko.util, io\n"
        "from cryptography.hazmat.primitives import serialization\n"
        "from cryptography.hazmat.primitives.asymmetric import rsa\n"
        "def pem(password):\n    key = rsa.generate_private_key(65537, 2048)\n"
        "    return key.private_bytes(serialization.Encoding.PEM,\n"
        "        serialization.PrivateFormat.TraditionalOpenSSL,\n"
        "        serialization.BestAvailableEncryption(password)).decode()",
        [
            Row(
                "message.add_string(x)",
                "paramiko.Agent, which keeps the key elsewhere",
                result="len(message.asbytes())",
                seen="message.asbytes()",
                setup="message = paramiko.Message()",
                shown="Message.add_string(x), as Transport.auth_password does",
            ),
            Row(
                "refused(lambda: paramiko.RSAKey.from_private_key(io.StringIO(text), x), "
                "paramiko.SSHException, ValueError)",
                "paramiko.Agent",
                setup="text = pem(b'another')",
                shown="RSAKey.from_private_key(file, password=x)",
            ),
        ],
    ),
    "HTTP: requests, httpx, urllib3": (
        HELPERS + "import requests, requests.auth, httpx, urllib3",
        [
            Row(
                "requests.auth._basic_auth_str('u', x)",
                text=True,
                shown='requests.get(url, auth=("u", x))',
            ),
            Row(
                "requests.Request('GET', 'http://localhost/', headers={'A': x}).prepare()"
                ".headers['A']",
                result="len(r)",
                seen="r if isinstance(r, str) else bytes(r).decode()",
                text=True,
                shown='requests.get(url, headers={"A": x})',
            ),
            Row("requests.post(url, data=x).text", setup="url = serve()"),
            Row(
                "httpx.BasicAuth('u', x)._auth_header",
                text=True,
                shown='httpx.get(url, auth=("u", x))',
            ),
            Row(
                "httpx.Headers({'A': x})['A']", text=True, shown='httpx.get(url, headers={"A": x})'
            ),
            Row("httpx.post(url, content=x).text", setup="url = serve()"),
            Row("urllib3.request('POST', url, body=x).data", setup="url = serve()"),
            Row("urllib3.make_headers(basic_auth=x)['authorization']", text=True),
        ],
    ),
    "databases: psycopg, redis, PyMySQL, pymongo": (
        HELPERS + "import psycopg.conninfo, psycopg.adapt, redis, redis.connection, bson\n"
        "import pymysql._auth, hashlib\n"
        "def redis_to():\n    c = redis.connection.Connection()\n    c._sock = nobody()\n    return c",
        [
            Row(
                "psycopg.conninfo.make_conninfo(password=x)",
                "a passfile on tmpfs, or peer and certificate authentication",
                text=True,
                shown="psycopg.connect(password=x)",
            ),
            Row(
                "psycopg.adapt.Transformer(None).as_literal(x)",
                "memoryview(x)",
                shown="a parameter of cursor.execute",
            ),
            Row(
                "redis_to().pack_command('AUTH', x)",
                "memoryview(x)",
                result="len(b''.join(map(bytes, r)))",
                seen="b''.join(map(bytes, r))",
                shown="Redis.execute_command('AUTH', x)",
            ),
            Row(
                "pymysql._auth.scramble_native_password(x, bytes(20))",
                "the server's socket authentication",
                shown="pymysql.connect(password=x)",
            ),
            Row(
                "bson.encode({'k': x})",
                result="len(r)",
                seen="r",
                shown="pymongo: insert({'k': x})",
            ),
        ],
    ),
    "numpy, serializers, compressors, hashes": (
        "import numpy, msgpack, orjson, cbor2, lz4.frame, zstandard, brotli, blake3, xxhash, cffi\n"
        "from google.protobuf.wrappers_pb2 import BytesValue\nimport zmq",
        [
            Row("numpy.frombuffer(x, numpy.uint8)", result="r[3] & r[4]"),
            Row("numpy.asarray(x)", "numpy.frombuffer", result="str(r.dtype)"),
            Row("numpy.frombuffer(x, numpy.uint8).copy()", result="r[3] & r[4]"),
            Row("msgpack.packb(x)", result="len(r)"),
            Row("orjson.dumps(x)"),
            Row("cbor2.dumps(x)", result="len(r)"),
            Row("BytesValue(value=x).SerializeToString()", result="len(r)"),
            Row("lz4.frame.compress(x)", result="len(r)"),
            Row("zstandard.ZstdCompressor().compress(x)", result="len(r)"),
            Row("brotli.compress(x)", result="len(r)"),
            Row("blake3.blake3(x)", "update from a view", result="r.digest()"),
            Row("blake3.blake3(b'm', key=x)", result="r.digest()", again="r.digest()"),
            Row("xxhash.xxh3_64(x).intdigest()"),
            Row("cffi.FFI().from_buffer(x)", result="len(r)"),
            Row("zmq.Frame(x)", result="len(r.bytes)"),
        ],
    ),
}
