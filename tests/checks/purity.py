"""What can run in the fatal handler calls only what a signal handler may call.

Looks at linked machine code, so that inlining and what the compiler puts in by itself
count: the core file by file, by gcc and clang, and the wheel's extension. That one may be linked
as a whole, so that of what is marked only the entries are sure to be functions of their own there.
Everything reachable from the entries and from each function that a header marks [signal]
must be ours or on the list below, touch no thread-local, and call through no pointer.
Then it plants what is forbidden in a copy of one file, and must find it.

    python tests/checks/purity.py BUILD_DIRECTORY COMPILER... [EXTENSION]
"""

import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

TREE = Path(__file__).resolve().parents[2]
CORE = TREE / "csrc/core"
ENTRIES = [f"enter_{level}" for level in range(8)]

LEVELS = ("-O2", "-O3")

# Async-signal-safe by POSIX.1-2024, section 2.4.3.
POSIX = """
    abort close fcntl fstat getpid memcmp memcpy memmove memset open poll
    pthread_self pthread_sigmask raise send sigaction sigaddset sigdelset sigemptyset sigfillset
    sigismember sigpending sysconf tcsetattr write
"""
# System calls without any state of the C library's: neither lock nor memory. errno is
# an initial-exec thread-local of its own, there from the thread's first moment.
BARE = """
    __errno_location madvise mincore mmap mprotect munmap sched_yield sigaltstack
    sigtimedwait syscall
"""
# Put in by compilers; ends the process where a stack was overwritten. musl's and older
# glibc's names of the above.
COMPILER = "__stack_chk_fail __memcpy_chk __memset_chk __memmove_chk __fxstat __sched_yield"
ALLOWED = {*POSIX.split(), *BARE.split(), *COMPILER.split()}

# The handler that was there before ours is called as a function; nothing else is. What is
# no more than a switch may become a table of jumps, which looks alike.
INDIRECT = {"on_fatal", "chain_signal", "call_next", "queue_next", "queue", "call", "os_is_forced"}

CALL = re.compile(r"^\s*[0-9a-f]+:\s+(?:notrack |bnd |data16 |rex\.W )*(\S+)\s*(.*)$")
NAME = re.compile(r"<([^>+@]+)(@[^>+]*)?(?:\+0x[0-9a-f]+)?>")
BRANCHES = re.compile(r"^(call|jmp|j[a-z]+|bl|b|b\..*|cbn?z|tbn?z|blr|br)q?$")
POINTER = re.compile(r"^(\*|x\d+$)")
# The thread pointer itself, %fs:0 and tpidr_el0, names the thread: it is there from the first.
THREAD_LOCAL = re.compile(r"%fs:(?!0x28\b|0x0\b)|__tls_get_addr|tlsdesc", re.IGNORECASE)


@dataclass
class Function:
    """What the code of one function refers to."""

    names: set[str] = field(default_factory=set)
    indirect: bool = False
    thread_local: bool = False


def base(name: str) -> str:
    """A function's name without what the compiler appends to parts and clones."""
    return re.sub(r"\.(cold|part|isra|constprop|llvm|lto_priv)\b.*", "", name)


def read(library: Path) -> dict[str, Function]:
    """Every function of a shared object, by disassembly."""
    out = subprocess.run(  # noqa: S603
        ["objdump", "-d", "--no-show-raw-insn", str(library)],  # noqa: S607
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    functions: dict[str, Function] = {}
    now = Function()
    for line in out.splitlines():
        if head := re.match(r"^[0-9a-f]+ <(.+)>:$", line):
            now = functions.setdefault(head[1].split("@")[0] + ("@" * ("@" in head[1])), Function())
            continue
        if not (code := CALL.match(line)):
            continue
        mnemonic, operands = code.groups()
        now.thread_local |= bool(THREAD_LOCAL.search(operands))
        for target in NAME.finditer(operands):
            now.names.add(target[1])  # code called, and functions whose address is taken
        if BRANCHES.match(mnemonic) and POINTER.match(operands) and not NAME.search(operands):
            now.indirect = True
    return functions


def imported(library: Path) -> set[str]:
    """Names that the object wants from others."""
    out = subprocess.run(  # noqa: S603
        ["nm", "-D", "--undefined-only", str(library)],  # noqa: S607
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return {line.split()[-1].split("@")[0] for line in out.splitlines()}


def ours(core: Path, suffix: str) -> list[Path]:
    """The core's files with that suffix, but macOS's."""
    found = (path.relative_to(core) for path in core.rglob(f"*{suffix}"))
    return sorted(core / path for path in found if "macos" not in re.split(r"[/_.]", str(path)))


def marked() -> list[str]:
    """The functions that headers mark as fit for a signal handler."""
    names: list[str] = []
    for header in ours(CORE, ".h"):
        for block in header.read_text().split("\n\n"):
            if "[signal" not in block or "static inline" in block:
                continue
            for line in re.sub(
                r"/\*((?!\[any\]|\[signal).)*?\*/", "", block, flags=re.DOTALL
            ).split(";"):
                code = re.sub(r"/\*.*?\*/", "", line, flags=re.DOTALL)
                names += re.findall(r"\b(?!_Atomic|__attribute__)([a-z]\w+)\(", code)[:1]
    return list(dict.fromkeys(names))


def faults(library: Path, roots: Iterable[str]) -> list[str]:
    """What is wrong with the code reachable from the roots; each with the way there."""
    functions, others = read(library), imported(library)
    found = []
    seen: dict[str, str] = {}
    whole = "lto_priv" in "".join(functions)
    for root in roots:
        todo = [(name, name) for name in functions if base(name) == root]
        if not todo and (root in ENTRIES or not whole):
            found.append(f"{root}: not in {library.name}")
        while todo:
            name, way = todo.pop()
            if name in seen:
                continue
            seen[name] = way
            if name not in functions:
                if name in others and name not in ALLOWED:
                    found.append(f"{way}: not async-signal-safe")
                continue
            if base(name) in LOCKS:
                found.append(f"{way}: takes a lock")
            function = functions[name]
            if function.thread_local:
                found.append(f"{way}: uses a thread-local")
            if function.indirect and base(name) not in INDIRECT:
                found.append(f"{way}: calls through a pointer")
            todo += [(to, f"{way} > {to}") for to in function.names - seen.keys()]
    return found


def compiled(compiler: str, level: str, source: Path, out: Path) -> Path:
    """An object of a file of the core, compiled as setup.py does."""
    flags = [
        "-std=c11",
        level,
        "-fvisibility=hidden",
        "-fPIC",
        "-pthread",
        "-D_GNU_SOURCE",
        f"-I{CORE}",
    ]
    subprocess.run([compiler, *flags, "-c", "-o", out, source], check=True)  # noqa: S603
    return out


def linked(compiler: str, objects: Iterable[Path], out: Path) -> Path:
    """The core as a shared object."""
    subprocess.run([compiler, "-shared", "-pthread", "-o", out, *objects], check=True)  # noqa: S603
    return out


PLACE = "void noise_wipe(void *p, size_t n)\n{"
LOCKS = {"lock_take", "lock_try", "brief_wait"}
"""Also those that no function of the C library is behind."""
# Planted by what is said of each.
STATIC = '_Thread_local volatile int planted __attribute__((tls_model("initial-exec")))'
PLANTS = {
    "malloc": "extern void *malloc(size_t); *(void *volatile *)p = malloc(n);",
    "thread-local": "static _Thread_local volatile int planted; planted++;",
    "takes a lock": "brief_wait((brief_lock *)p, 1);",
    "through a pointer": "extern void (*volatile planted)(void); planted();",
}
if platform.machine() == "x86_64":  # elsewhere it looks like the thread pointer
    PLANTS["uses a thread-local"] = f"static {STATIC}; planted++;"


def main() -> int:
    """Print a line for each object; 1 where one is at fault or a plant stays unseen."""
    where = Path(sys.argv[1]) / "purity"
    shutil.rmtree(where, ignore_errors=True)
    where.mkdir(parents=True)
    roots = [*ENTRIES, *marked()]
    compilers = [a for a in sys.argv[2:] if not a.endswith(".so")]
    libraries = [Path(a) for a in sys.argv[2:] if a.endswith(".so")]
    objects: dict[str, dict[Path, Path]] = {}  # of each library, by their sources
    for compiler in compilers:
        for level in LEVELS:
            name = Path(compiler).name + level
            (where / name).mkdir()
            objects[name] = {
                source: compiled(compiler, level, source, where / name / f"{i}.o")
                for i, source in enumerate(ours(CORE, ".c"))
            }
            libraries.append(linked(compiler, objects[name].values(), where / f"{name}.so"))
    bad = 0
    for library in libraries:
        found = faults(library, roots)
        bad += len(found)
        print(f"{library.name}: {len(roots)} functions to start from, {len(found)} faults")
        print("".join(f"    {line}\n" for line in found), end="")
    # A plant is in one file: the others are the first compiler's of above.
    first, level = compilers[0], LEVELS[-1]
    (noise,) = CORE.rglob("noise.c")
    text = noise.read_text()
    assert PLACE in text
    for what, planted in PLANTS.items():
        extra = "\nvoid (*volatile planted)(void);\n" if "pointer" in what else ""
        copy = where / "noise.c"
        copy.write_text(text.replace(PLACE, PLACE + planted) + extra)
        one = compiled(first, level, copy, where / "noise.o")
        others = {**objects[Path(first).name + level], noise: one}
        found = faults(linked(first, others.values(), where / "planted.so"), ENTRIES)
        seen = any(what in line for line in found)
        bad += not seen
        print(f"planted, {what}: {'found' if seen else 'NOT FOUND'}")
    print("FAILED" if bad else "ok: the handler is pure")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
