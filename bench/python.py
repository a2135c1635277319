"""What the Python calls cost, measured with pyperf; run.py runs it."""

import hashlib
import hmac
import os

import pyperf
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import secalloc

MIB = 1 << 20


def main() -> None:
    runner = pyperf.Runner()
    small, large = secalloc.random(32), secalloc.random(MIB)
    page = secalloc.random(65536)
    pool = secalloc.Pool()
    plain_small, plain_large, plain_page = bytes(small), bytes(large), bytes(page)
    other_small, other_large = bytes(bytearray(plain_small)), bytes(bytearray(plain_large))

    def bench(name: str, statement: str, **names: object) -> None:
        runner.timeit(name, statement, globals=names)

    bench("py_isolated", "A(b).close()", A=secalloc.Arena, b=plain_small)
    bench("py_pooled", "f(b).close()", f=pool.alloc, b=plain_small)
    sealed = secalloc.random(32)
    sealed.seal()
    bench("py_block", "with k.open('r'): pass", k=sealed)
    bench("py_rotate", "k.rotate()", k=secalloc.random(32))
    bench("bytearray_32", "f(32)", f=bytearray)
    bench("py_random", "f(32)", f=pool.random)
    bench("urandom_32", "f(32)", f=os.urandom)
    message = b"m" * 64
    for name, key in (("arena", small), ("bytes", plain_small)):
        bench(f"hmac_{name}", "f(k, m, 'sha256')", f=hmac.digest, k=key, m=message)
        bench(f"sha_{name}", "f(k).digest()", f=hashlib.sha256, k=key)
        bench(f"aead_{name}", "A(k).encrypt(n, m, None)", A=AESGCM, k=key, n=bytes(12), m=message)
    bench("py_compare_32", "f(a, b)", f=secalloc.compare_digest, a=small, b=other_small)
    bench("hmac_compare_32", "f(a, b)", f=hmac.compare_digest, a=plain_small, b=other_small)
    bench("hmac_compare_arena", "f(a, b)", f=hmac.compare_digest, a=small, b=other_small)
    bench("py_compare_bytes", "f(a, b)", f=secalloc.compare_digest, a=plain_small, b=other_small)
    bench("py_compare_mib", "f(a, b)", f=secalloc.compare_digest, a=large, b=other_large)
    bench("hmac_compare_mib", "f(a, b)", f=hmac.compare_digest, a=plain_large, b=other_large)
    bench("sha256_arena", "f(a).digest()", f=hashlib.sha256, a=page)
    bench("sha256_bytes", "f(a).digest()", f=hashlib.sha256, a=plain_page)
    bench("view_arena", "f(a)", f=memoryview, a=small)
    bench("view_bytearray", "f(a)", f=memoryview, a=bytearray(32))


if __name__ == "__main__":
    main()
