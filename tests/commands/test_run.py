"""python -m secalloc run: the program as the plain interpreter runs it, but for its memory."""

import json
import os
import platform
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from support import linux_only

import secalloc
from secalloc._commands.run import allocator, has_glibc, library, unfit

PLAIN = [sys.executable, "-P"]
RUN = [*PLAIN, "-m", "secalloc", "run"]

REPORT = """
import json, os, signal, subprocess, sys
main = sys.modules["__main__"]
print(json.dumps({
    "argv": sys.argv,
    "path": sys.path,
    "orig_argv": sys.orig_argv,
    "executable": sys.executable,
    "flags": list(sys.flags),
    "xoptions": sys._xoptions,
    "warnoptions": sys.warnoptions,
    "environ": sorted(os.environ.items()),
    "a child's": subprocess.run(["env"], capture_output=True, text=True).stdout.split("\\n"),
    "main": sorted((k, repr(v)[:60].partition(" at 0x")[0]) for k, v in vars(main).items()
                   if k not in ("json", "os", "signal", "subprocess", "sys", "main")),
    "spec": main.__spec__ and main.__spec__.name,
    "handlers": [str(signal.getsignal(n)) for n in (1, 2, 3, 13, 15, 25)],
    "mask": sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, []))),
    "sitecustomize": "sitecustomize" in sys.modules,
    "cwd": os.getcwd(),
    "stdin": sys.stdin.read(),
    "fds": sorted(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else [],
}))
"""


def start(command: Sequence[str], **options: Any) -> "subprocess.CompletedProcess[str]":
    given = {"input": "some\ninput", "capture_output": True, "text": True, "timeout": 60}
    env = {**os.environ, **options.pop("env", {})}
    return subprocess.run(command, check=False, env=env, **{**given, **options})  # noqa: S603


def both(program: Sequence[str], options: Sequence[str] = ("-P",), **more: Any) -> tuple[Any, Any]:
    """What the plain interpreter gives, and what we give."""
    python = [sys.executable, *options]
    plain = start([*python, *program], **more)
    ours = start([*python, "-m", "secalloc", "run", *program], **more)
    return plain, ours


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with the report as a script, a module, a package and a directory to run."""
    for name in ("report.py", "package/__main__.py", "runnable/__main__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(REPORT)
    return tmp_path


FORMS = {
    "script": ["report.py", "one", "--two", "-m", ""],
    "script by path": ["./report.py"],
    "module": ["-m", "report", "-h", "--help"],
    "module, one word": ["-mreport", "x"],
    "package": ["-m", "package"],
    "directory": ["runnable", "x"],
    "code": ["-c", REPORT, "-c", "x"],
    "code, one word": ["-c" + REPORT, "x"],
    "standard input": ["-", "x"],
}


@pytest.mark.parametrize("form", FORMS)
def test_the_program_sees_what_it_would(form: str, place: Path) -> None:
    """No -P, and PYTHONPATH for what -m secalloc itself needs: nothing of it shows."""
    more: dict[str, Any] = {"cwd": place}
    if form == "standard input":
        more["input"] = REPORT
    plain, ours = both(FORMS[form], (), **more)
    assert (plain.returncode, plain.stderr) == (0, ""), plain
    assert (ours.returncode, ours.stderr) == (0, ""), ours
    there = json.loads(plain.stdout)
    assert json.loads(ours.stdout) == there
    assert there["argv"][1:] == FORMS[form][-len(there["argv"]) + 1 :] or not there["argv"][1:]


@pytest.mark.parametrize(
    "options",
    [["-P", "-u"], ["-Bq", "-X", "utf8"], ["-W", "error::UserWarning", "-O"], ["-Xdev", "-bb"]],
    ids=str,
)
def test_options_of_the_interpreter_are_kept(options: list[str], place: Path) -> None:
    plain, ours = both(["report.py", "x"], options, cwd=place)
    assert (ours.returncode, ours.stderr) == (0, "")
    assert json.loads(ours.stdout) == json.loads(plain.stdout)


@linux_only
def test_variables_that_were_there_come_back(place: Path) -> None:
    """Also a sitecustomize of one's own gets its turn."""
    (place / "sitecustomize.py").write_text("import builtins; builtins.came = 1")
    (place / "came.py").write_text("print(came)\n")
    env = {
        "PYTHONPATH": str(place),
        "PYTHONMALLOC": "default",  # whichever that is
        "GLIBC_TUNABLES": "glibc.malloc.arena_max=3:glibc.malloc.perturb=7",
    }
    plain, ours = both(["report.py"], cwd=place, env=env)
    assert (ours.returncode, ours.stderr) == (0, "")
    assert json.loads(ours.stdout) == json.loads(plain.stdout)
    assert json.loads(ours.stdout)["sitecustomize"] is True
    assert start([*RUN, "came.py"], cwd=place, env=env).stdout == "1\n"
    given = {**env, **allocator(glibc=True, tunables=env["GLIBC_TUNABLES"])}
    assert "glibc.malloc.arena_max=3" in given["GLIBC_TUNABLES"].split(":")


ENDS = {
    "well": "pass",
    "status": "import sys; sys.exit(3)",
    "message": "import sys; sys.exit('why')",
    "exception": "def f(): raise KeyError('x')\nf()",
    "syntax": "1 +",
    "os._exit": "import os; os._exit(7)",
    "signal": "import os; os.kill(os.getpid(), 15)",
    "interrupted": "import os, signal; signal.raise_signal(2)",
    "closed pipe": "import os, signal; signal.signal(13, signal.SIG_DFL); os.kill(os.getpid(), 13)",
    "fault": "import ctypes; ctypes.string_at(8)",
    "atexit": "import atexit; atexit.register(print, 'late'); print('early')",
}


@pytest.mark.parametrize("end", ENDS)
def test_it_ends_as_it_would(end: str, place: Path) -> None:
    (place / "end.py").write_text(ENDS[end])
    for program in (["end.py"], ["-m", "end"]):
        plain, ours = both(program, (), cwd=place)
        assert (ours.returncode, ours.stdout, ours.stderr) == (
            plain.returncode,
            plain.stdout,
            plain.stderr,
        )


# ---- the library that is loaded before the program ------------------------------------------

by_library = pytest.mark.skipif(
    not has_glibc() or "t" in sys.abiflags, reason="wheels for glibc and a GIL have it"
)


@by_library
def test_the_wheel_has_it_and_run_loads_it() -> None:
    assert library() is not None
    code = "print(any('_run.so' in line for line in open('/proc/self/maps')))"
    assert start([*PLAIN, "-c", code]).stdout == "False\n"
    assert start([*RUN, "-c", code]).stdout == "True\n"


@cache
def built(source: str, *flags: str) -> str:
    """A program of tests/core/run, compiled once; skips the test where nothing compiles it."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        pytest.skip("needs a C compiler")
    file = Path(__file__).parents[1] / "core" / "run" / source
    made = str(Path(tempfile.mkdtemp(prefix="secalloc-run-")) / source) + ".out"
    core = f"-I{Path(__file__).parents[2] / 'csrc' / 'core'}"
    common = ["-std=gnu11", "-O3", "-w", "-rdynamic", "-pthread", core, "-o", made, str(file)]
    subprocess.run([compiler, *flags, *common], check=True)  # noqa: S603
    return made


@by_library
def test_blocks_of_pythons_allocator() -> None:
    """By a program with pools as Python's, and one whose pools look different: these stay
    as they are."""
    for flags in ((), ("-DOTHER",)):
        program = built("pools.c", *flags)
        end = start([program], env={"LD_PRELOAD": str(library())})
        assert (end.returncode, end.stdout, end.stderr) == (0, "ok\n", "")
        assert start([program]).returncode == 1, "the control: without it nothing is overwritten"


@by_library
@pytest.mark.parametrize(
    "tunables",
    ["", "glibc.malloc.hugetlb=1", "glibc.malloc.hugetlb=2", "glibc.malloc.tcache_count=0"],
)
def test_blocks_of_the_c_library(tunables: str) -> None:
    """Heaps of threads are smaller, and begin elsewhere, where pages are huge. In a program that
    has a fixed place, as Debian's Python, malloc has another address."""
    for flags in ((), ("-no-pie", "-fno-pie")):
        program = built("heap.c", *flags)
        end = start([program], env={"LD_PRELOAD": str(library()), "GLIBC_TUNABLES": tunables})
        assert (end.returncode, end.stdout, end.stderr) == (0, "ok\n", "")
        assert start([program]).returncode == 1, "the control: without it they keep their content"


@by_library
def test_blocks_of_another_allocator() -> None:
    """One that is loaded before ours, or behind it: its blocks stay as they are."""
    program = built("heap.c")
    another, ours = built("another.c", "-shared", "-fPIC"), library()
    for loaded in (another, f"{another}:{ours}", f"{ours}:{another}"):
        end = start([program, "another"], env={"LD_PRELOAD": loaded})
        assert (end.returncode, end.stdout, end.stderr) == (0, "ok\n", ""), loaded
    end = start([program, "another"], env={"LD_PRELOAD": str(ours)})
    # In one run of 256 the first block's only byte is by chance what it was, and it goes twice.
    assert end.returncode in (1, -signal.SIGABRT), "the control: those of the C library do not"


@by_library
def test_blocks_in_a_sheltered_call() -> None:
    """From a heap that the library is lent; each way to take one, and what is left out."""
    program, heap = (built("lent.c", *f) for f in ((), ("-DHEAP", "-shared", "-fPIC")))
    end = start([program, heap], env={"LD_PRELOAD": str(library())})
    assert (end.returncode, end.stdout, end.stderr) == (0, "ok\n", "")
    assert start([program, heap]).returncode == 1, "the control: without it nothing is lent"


@by_library
@pytest.mark.parametrize(
    "damage", [["twice", "32"], ["twice", "1000"], ["twice", "2000"], ["twice", "100000"], ["wild"]]
)
def test_the_c_librarys_own_checks_still_find(damage: list[str]) -> None:
    program = built("heap.c")
    plain = start([program, *damage])
    ours = start([program, *damage], env={"LD_PRELOAD": str(library())})
    assert plain.returncode == -signal.SIGABRT
    assert (ours.returncode, ours.stderr) == (plain.returncode, plain.stderr)


@pytest.fixture
def another_place(tmp_path: Path) -> Path:
    """A copy of the package in a directory of its own."""
    place = tmp_path / "with space" if sys.platform == "linux" else tmp_path / "copy"
    shutil.copytree(Path(secalloc.__file__).parent, place / "secalloc")
    return place


REPORTED = """
import os, sys
import secalloc
left = [name for name in os.environ if "SECALLOC" in name or name == "LD_PRELOAD"]
print([name for name in left if name not in ("SECALLOC_TRIALS", "SECALLOC_PART")],  # the tests' own
      any('_run.so' in line for line in open('/proc/self/maps')),
      secalloc._core._frees_are_overwritten(), sys.argv, sys.stdin.read(), secalloc.__file__)
"""


@by_library
def test_a_path_that_the_loader_cannot_name(another_place: Path) -> None:
    """It has a space: the allocators overwrite instead, and there is nothing to tell."""
    end = start([*RUN, "-c", REPORTED, "x"], env={"PYTHONPATH": str(another_place)})
    assert (end.returncode, end.stderr) == (0, "")
    assert end.stdout.startswith("[] False True ['-c', 'x'] some\ninput")
    assert str(another_place) in end.stdout


@by_library
def test_a_library_that_does_not_work(another_place: Path) -> None:
    """It is there and overwrites nothing: the interpreter is started once more, and says so.
    What a channel passed reaches the program all the same."""
    place = another_place.rename(another_place.with_name("without"))
    shutil.copy(secalloc._core.__file__, place / "secalloc" / "_run.so")
    code = REPORTED + "print(secalloc.adopt('k') == b'abc'); secalloc.lockdown()"
    with secalloc.LockdownChannel() as channel, secalloc.Arena(b"abc") as key:
        args = channel.popen_args(env={**os.environ, "PYTHONPATH": str(place)}, secrets={"k": key})
        end = start([*RUN, "-c", code, "x"], **args)
        assert end.stdout.startswith("[] False True ['-c', 'x'] some\ninput"), end
        assert str(place) in end.stdout
        assert end.stdout.endswith("True\n")
        assert end.stderr == (
            "secalloc run: its library does not work in this Python; "
            "freed memory is overwritten more slowly\n"
        )
        event = channel.wait(20)
        assert event is not None
        assert event.kind == "LOCKDOWN"


@pytest.mark.parametrize(
    ("environ", "glibc", "machine", "why"),
    [
        ({}, (2, 28), "aarch64", None),
        ({"MALLOC_CHECK_": "3"}, (2, 33), "x86_64", "MALLOC_CHECK_"),
        ({"MALLOC_CHECK_": "0"}, (2, 33), "x86_64", None),
        ({"MALLOC_CHECK_": "3"}, (2, 34), "x86_64", None),
        ({"GLIBC_TUNABLES": "a.b=1:glibc.malloc.check=1"}, (2, 28), "x86_64", "malloc.check"),
        ({"GLIBC_TUNABLES": "glibc.malloc.check=1"}, (2, 36), "x86_64", None),
        ({"GLIBC_TUNABLES": "glibc.mem.tagging=03"}, (2, 36), "aarch64", "mem.tagging"),
        ({"GLIBC_TUNABLES": "glibc.mem.tagging=0x1:"}, (2, 41), "aarch64", "mem.tagging"),
        ({"GLIBC_TUNABLES": "glibc.mem.tagging=0:x"}, (2, 41), "aarch64", None),
        ({"GLIBC_TUNABLES": "glibc.mem.tagging=3"}, (2, 41), "x86_64", None),
    ],
)
def test_what_gives_blocks_another_shape(
    environ: dict[str, str], glibc: tuple[int, ...], machine: str, why: str | None
) -> None:
    said = unfit(environ, glibc, machine)
    assert said == why or (why and said and said.endswith(why))


OLD_GLIBC = """
import os
real = os.confstr
os.confstr = lambda name: "glibc 2.33" if name == "CS_GNU_LIBC_VERSION" else real(name)
"""


@by_library
def test_a_heap_that_checks_itself(tmp_path: Path) -> None:
    """As before glibc 2.34, by a byte behind each block, which the library would overwrite."""
    env = {"MALLOC_CHECK_": "1", "PYTHONPATH": str(tmp_path)}
    said = "secalloc run: its library does not work under MALLOC_CHECK_; "
    said += "freed memory is overwritten more slowly\n"
    for by_ours, told in (True, ""), (False, said):
        end = start([*RUN, "-c", REPORTED, "x"], env=env)
        assert end.stdout.startswith(f"[] {by_ours} True ['-c', 'x'] some\ninput"), end
        assert end.stderr == told
        (tmp_path / "sitecustomize.py").write_text(OLD_GLIBC)


@by_library
@pytest.mark.skipif(
    not (platform.machine() == "aarch64" and " mte" in Path("/proc/cpuinfo").read_text()),
    reason="only AArch64 with MTE tags memory",
)
def test_tagged_memory() -> None:
    """By the allocators: the C library's pointers have tags that its own words have not."""
    env = {"GLIBC_TUNABLES": "glibc.mem.tagging=3"}
    if start([*PLAIN, "-c", ""], env=env).returncode:
        pytest.skip("the plain interpreter does not run under glibc.mem.tagging")
    end = start([*RUN, "-c", REPORTED, "x"], env=env)
    assert end.stdout.startswith("[] False True ['-c', 'x'] some\ninput"), end
    assert end.stderr == (
        "secalloc run: its library does not work under glibc.mem.tagging; "
        "freed memory is overwritten more slowly\n"
    )


@by_library
def test_what_was_loaded_before_still_is(tmp_path: Path) -> None:
    """Another library in LD_PRELOAD, and the variable as it was, for its children too."""
    other = tmp_path / "other.so"
    shutil.copy(str(library()), other)
    code = (
        "import os, subprocess; m = open('/proc/self/maps').read(); print('other.so' in m, "
        "'_run.so' in m, os.environ['LD_PRELOAD'], subprocess.run(['printenv', 'LD_PRELOAD'], "
        "capture_output=True, text=True).stdout)"
    )
    end = start([*RUN, "-c", code], env={"LD_PRELOAD": str(other)})
    assert end.stdout == f"True True {other} {other}\n\n"


def test_it_keeps_its_process(tmp_path: Path) -> None:
    """The very process that was started is the program, so signals and waits reach it."""
    with subprocess.Popen(  # noqa: S603
        [*RUN, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(60)"],
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        assert int(child.stdout.readline()) == child.pid
        child.send_signal(signal.SIGTERM)
        assert child.wait(20) == -signal.SIGTERM


@linux_only
def test_it_is_hardened() -> None:
    code = "import secalloc, resource; print(secalloc._core._dumpable(), resource.getrlimit(4))"
    assert start([*RUN, "-c", code]).stdout == "False (0, 0)\n"
    code = "import os, secalloc; secalloc.Arena(1); os.abort()"
    assert start([*RUN, "-c", code]).returncode == -signal.SIGABRT


def test_what_is_refused_is_told() -> None:
    """A limit that cannot be lowered, as seccomp would have it: shown, and the program runs."""
    code = (
        "import secalloc._core as c, secalloc._commands.run as r; "
        "c._frees_are_overwritten = lambda: False; r.begin('nowhere'); print('ran')"
    )
    end = start([*PLAIN, "-c", code])
    assert end.stdout == "ran\n"
    assert "the allocator does not overwrite freed memory" in end.stderr


def test_a_channel_reaches_the_program() -> None:
    code = "import secalloc; print(secalloc.adopt('k') == b'abc'); secalloc.lockdown()"
    with secalloc.LockdownChannel() as channel, secalloc.Arena(b"abc") as key:
        args = channel.popen_args(secrets={"k": key})  # kept: its descriptors live with it
        end = start([*RUN, "-c", code], **args)
        assert (end.returncode, end.stdout, end.stderr) == (0, "True\n", "")
        event = channel.wait(20)
        assert event is not None
        assert event.kind == "LOCKDOWN"


# ---- memory ---------------------------------------------------------------------------------

FREED = """
import os, sys
for _ in range(4):
    secret = os.urandom(1024)
    os.write(1, secret)
    keep = [object() for _ in range(10)]
    del secret
sys.stdin.readline()
"""


def copies(command: Sequence[str], env: dict[str, str] | None = None) -> int:
    """Of how many freed secrets of 1 KiB any 16 bytes are left in the process's memory."""
    with subprocess.Popen(  # noqa: S603
        [*command, "-c", FREED],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
        env={**os.environ, **(env or {})},
    ) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        got, end = b"", time.monotonic() + 30
        while len(got) < 4096 and select.select([child.stdout], [], [], end - time.monotonic())[0]:
            got += os.read(child.stdout.fileno(), 4096)
        assert len(got) == 4096
        while "S" not in Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0]:
            time.sleep(0.01)  # until it waits for its input
        memory = []
        with open(f"/proc/{child.pid}/mem", "rb", buffering=0) as mem:
            for line in Path(f"/proc/{child.pid}/maps").read_text().splitlines():
                where, access = line.split()[:2]
                low, high = (int(n, 16) for n in where.split("-"))
                if access.startswith("rw") and "[v" not in line:
                    mem.seek(low)
                    memory.append(mem.read(high - low))
        child.stdin.close()
        assert child.wait(20) == 0
    secrets = [got[i : i + 1024] for i in range(0, 4096, 1024)]
    return sum(
        any(s[i : i + 16] in part for part in memory for i in range(0, 1024, 32)) for s in secrets
    )


@linux_only
@pytest.mark.skipif(os.getuid() != 0, reason="only root reads a hardened process's memory")
@pytest.mark.skipif("t" in sys.abiflags, reason="its allocator may hold freed blocks elsewhere")
def test_a_freed_secret_is_gone() -> None:
    assert copies(PLAIN) > 0, "the control: it is found, so the search finds what is there"
    assert copies(PLAIN, {"PYTHONMALLOC": "malloc"}) > 0, "what the C library does by itself"
    assert copies(RUN) == 0
    assert copies(PLAIN, allocator(glibc=True)) == 0, "by glibc, where our library is of no use"
    assert copies(PLAIN, allocator(glibc=False)) == 0, "as where there is no glibc"


@pytest.mark.skipif(not has_glibc(), reason="what other C libraries do is told in the docs")
def test_small_blocks_too() -> None:
    code = "import secalloc; print(secalloc._core._frees_are_overwritten())"
    assert start([*PLAIN, "-c", code]).stdout == "False\n"
    assert start([*RUN, "-c", code]).stdout == "True\n"


C_HEAP = """
import ctypes
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
left = 0
for size in (24, 104, 1000, 5000):
    block = libc.malloc(ctypes.c_size_t(size))
    ctypes.memset(block, 0xA7, size)
    libc.free(block)
    left += ctypes.string_at(block, size).count(0xA7)
print(left)
"""


@pytest.mark.skipif(
    not has_glibc() or "t" in sys.abiflags, reason="elsewhere it is told that they are not"
)
def test_what_c_libraries_free_too() -> None:
    assert int(start([*PLAIN, "-c", C_HEAP]).stdout) > 5000
    assert int(start([*RUN, "-c", C_HEAP]).stdout) < 32


# ---- bad usage -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "a script, -m module, -c code"),
        ([""], "a script, -m module, -c code"),
        (["-m"], "-m needs an argument"),
        (["-c"], "-c needs an argument"),
        (["-X", "dev", "x.py"], "options of the interpreter go before"),
        (["--loud"], "options of the interpreter go before"),
    ],
)
def test_bad_usage(arguments: list[str], message: str) -> None:
    end = start([*RUN, *arguments])
    assert (end.returncode, end.stdout) == (2, "")
    assert message in end.stderr
    assert "usage: python [options] -m secalloc run" in end.stderr


@pytest.mark.parametrize("option", ["-E", "-I", "-S", "-BI"])
def test_options_that_would_undo_it_are_refused(option: str) -> None:
    env = {"PYTHONPATH": str(Path(secalloc.__file__).parent.parent)} if option == "-S" else {}
    end = start(
        [sys.executable, option, "-m", "secalloc", "run", "-c", "print('ran')"], env=env, cwd="/"
    )
    assert (end.returncode, end.stdout) == (2, "")
    assert "keep" in end.stderr


def test_a_missing_script_is_the_interpreters_error(tmp_path: Path) -> None:
    plain, ours = both(["missing.py"], cwd=tmp_path)
    assert (ours.returncode, ours.stderr) == (plain.returncode, plain.stderr)
    assert ours.returncode == 2


def test_a_start_that_fails_runs_nothing(tmp_path: Path) -> None:
    """Not hardened means not run: here the library cannot be loaded in the new interpreter."""
    (tmp_path / "secalloc").mkdir()
    (tmp_path / "secalloc" / "__init__.py").write_text("raise RuntimeError('broken')")
    start_dir = Path(secalloc.__file__).parent / "_commands/start"
    path = f"{start_dir}{os.pathsep}{tmp_path}"
    end = start([*PLAIN, "-c", "print('ran')"], env={"PYTHONPATH": path})
    assert (end.returncode, end.stdout) == (126, "")
    assert "was not started" in end.stderr
    assert "broken" in end.stderr


def test_a_path_that_the_environment_cannot_name(tmp_path: Path) -> None:
    """The new interpreter would not find what hardens it, and run the program without."""
    shutil.copytree(Path(secalloc.__file__).parent, tmp_path / "a:b" / "secalloc")
    shutil.copytree(Path(secalloc.__file__).parent, tmp_path / "a-b" / "secalloc")
    command = [sys.executable, "-m", "secalloc", "run", "-c", "print('ran')"]
    assert start(command, cwd=tmp_path / "a-b").stdout == "ran\n", "the control"
    end = start(command, cwd=tmp_path / "a:b")
    assert (end.returncode, end.stdout) == (126, "")
    assert "was not started" in end.stderr
    assert "a:b" in end.stderr


def test_help() -> None:
    for option in ("-h", "--help"):
        end = start([*RUN, option])
        assert end.returncode == 0
        assert end.stdout.startswith("usage: python [options] -m secalloc run")
        assert max(map(len, end.stdout.splitlines())) <= 88
