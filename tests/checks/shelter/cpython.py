"""CPython's own tests, whole files of them run inside one sheltered call.

    python tests/checks/shelter/cpython.py [-j JOBS] [FILE ...]

Each file is imported and run by shelter(), in a process of its own, and where something fails or
the process dies, once more outside: exit status 1 where a failure is the shelter's alone. Prints a
line for each file. Wants an interpreter with Lib/test, as one built from source has it.
"""

import argparse
import concurrent.futures
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass

FILES = """
test_argparse test_array test_asyncgen test_augassign test_base64 test_binascii test_binop
test_bisect test_bool test_buffer test_builtin test_bytes test_call test_class test_cmath
test_codecs test_collections test_compare test_complex test_configparser test_context test_copy
test_copyreg test_coroutines test_csv test_dataclasses test_decimal test_deque test_descr test_dict
test_dictviews test_enum test_enumerate test_exception_group test_exceptions test_fileio test_float
test_format test_fractions test_frame test_functools test_gc test_generators test_genexps
test_getpass test_glob test_hashlib test_heapq test_hmac test_html test_http_cookies
test_httpservers test_inspect test_int test_io test_iter test_json test_keyword test_linecache
test_list test_listcomps test_long test_lzma test_memoryio test_memoryview test_numeric_tower
test_opcodes test_operator test_ordered_dict test_plistlib test_pprint test_property test_pyexpat
test_queue test_random test_range test_re test_reprlib test_richcmp test_sax test_secrets test_set
test_shelve test_shlex test_slice test_smtplib test_socket test_sort test_sqlite3 test_ssl test_str
test_string test_stringprep test_struct test_structseq test_subprocess test_super test_sys
test_tarfile test_tempfile test_textwrap test_thread test_threading test_tokenize test_traceback
test_tuple test_types test_typing test_unicode test_unicodedata test_unpack test_urllib
test_urlparse test_userdict test_userlist test_userstring test_uuid test_weakref test_weakset
test_with test_xml_etree test_yield_from test_zipfile test_zlib
"""

PATIENCE = 600
TIMED_OUT = -1000

CHILD = """
import json, os, sys, unittest
name, sheltered, out = sys.argv[1:]
import secalloc
def whole_file():
    from test import support
    support.use_resources = []
    suite = unittest.defaultTestLoader.loadTestsFromName(f"test.{name}")
    result = unittest.TextTestRunner(sys.stderr, verbosity=1).run(suite)
    bad = [str(case) for case, _ in result.failures + result.errors]
    bad += [str(case) for case in result.unexpectedSuccesses]
    return {"run": result.testsRun, "skipped": len(result.skipped), "bad": sorted(bad)}
import atexit
got = secalloc.shelter(whole_file) if sheltered == "yes" else whole_file()
if sheltered == "yes":
    got["blocks"] = secalloc.status().sheltered.blocks
    assert got["blocks"] > 1000, "it was not sheltered"
with open(out, "w") as file:
    json.dump(got, file)
"""


@dataclass
class End:
    """How one run of one file ended; `status` is 0 where the process ended well."""

    status: int
    run: int
    skipped: int
    bad: list[str]
    said: str
    seconds: float


def run(name: str, sheltered: bool) -> End:
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        out = os.path.join(directory, "out.json")
        where = os.path.join(directory, "work")
        os.mkdir(where)
        command = [sys.executable, "-P", "-W", "ignore", "-c", CHILD, name]
        command += ["yes" if sheltered else "no", out]
        try:
            done = subprocess.run(  # noqa: S603
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=where,
                timeout=PATIENCE,
                check=False,
            )
            status, said = done.returncode, done.stdout.decode(errors="replace")
        except subprocess.TimeoutExpired as error:
            status, said = TIMED_OUT, (error.stdout or b"").decode(errors="replace")
        try:
            with open(out) as file:
                got = json.load(file)
        except OSError:
            got = {"run": 0, "skipped": 0, "bad": ["the file as a whole"]}
    seconds = time.monotonic() - begin
    return End(status, got["run"], got["skipped"], got["bad"], said[-3000:], seconds)


def judge(name: str) -> tuple[str, bool, int]:
    """A line on one file, whether all is well, and how many tests ran inside."""
    inside = run(name, True)
    line = f"{name:<22} {inside.run - inside.skipped:>6} run {inside.skipped:>5} skipped"
    if not inside.bad and not inside.status:
        return f"{line} {inside.seconds:>6.1f} s  ok", True, inside.run - inside.skipped
    outside = run(name, False)
    ours = [case for case in inside.bad if case not in outside.bad]
    if inside.status == TIMED_OUT or (inside.status and not outside.status):
        ours.append(f"status {inside.status}")
    if not ours:
        line += f" {inside.seconds:>6.1f} s  ok: the {len(inside.bad)} that fail do so outside"
        return line, True, inside.run - inside.skipped
    listed = "\n    ".join(ours)
    return f"{line} FAILED inside alone:\n    {listed}\n{inside.said}", False, inside.run


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-j", "--jobs", type=int, default=2)
    parser.add_argument("files", nargs="*", default=[])
    options = parser.parse_args()
    version = ".".join(map(str, sys.version_info[:3]))
    if importlib.util.find_spec("test.support") is None:
        print(f"skipped: CPython {version} is here without its tests")
        return 0
    wanted = options.files or FILES.split()
    there = [name for name in wanted if importlib.util.find_spec(f"test.{name}")]
    well = ran = 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for line, fine, tests in pool.map(judge, there):
            print(line, flush=True)
            well += fine
            ran += tests
    print(
        f"CPython {version}: {well} of {len(there)} files, {ran:,} tests inside of a sheltered call"
    )
    return 0 if well == len(there) else 1


if __name__ == "__main__":
    sys.exit(main())
