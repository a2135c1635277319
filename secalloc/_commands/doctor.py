"""What this machine grants a program that keeps secrets: ``python -m secalloc doctor``.

Each check says what holds, why, and what mends it. It is about a process started as this
one was: limits, the dumpable flag and handlers are a process's own.
"""

import ctypes
import json
import mmap
import os
import platform
import resource
import sys
import textwrap
import warnings
from pathlib import Path
from signal import Signals
from typing import Literal, NamedTuple

import secalloc
from secalloc import Protection, _core
from secalloc._commands.paint import has_colour, paint

_LINUX = sys.platform == "linux"
_FORCED = ("SEGV", "BUS", "ILL", "FPE", "ABRT", "SYS", "TRAP")
_ENOUGH = 2**20
_USUAL_MAPS = 65530
_NOTHING = "nothing to do"


class Check(NamedTuple):
    """One thing that was looked at."""

    name: str
    state: Literal["ok", "note", "missing"]
    """"note": worth knowing, and no fault. "missing": the exit status is 1."""
    what: str
    why: str
    mend: str


_MEANING = {
    Protection.GUARD: "inaccessible pages on both sides: running off an end faults",
    Protection.LOCK: "locked pages: a secret is never written to swap",
    Protection.SECRETMEM: "pages that not even the kernel maps: neither root nor a debugger "
    "reads them",
    Protection.NODUMP: "left out of core files",
    Protection.NOFORK: "not inherited by a child process",
}


def _text_of(path: str) -> str | None:
    """What stands in a file of the system's; None: it cannot be read."""
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return None


def _core_pattern() -> str:
    """Where core files go."""
    if _LINUX:
        return _text_of("/proc/sys/kernel/core_pattern") or "core"
    text = ctypes.create_string_buffer(1025)
    size = ctypes.c_size_t(len(text) - 1)
    ctypes.CDLL(None).sysctlbyname(b"kern.corefile", text, ctypes.byref(size), None, 0)
    return os.fsdecode(text.value) or "/cores/core.%P"


def _bytes(n: int) -> str:
    """A number of bytes as people write it."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if n >= size:
            return f"{n / size:.4g} {unit}"
    return f"{n} bytes"


def _protection(flag: Protection) -> Check:
    name = str(flag.name)
    try:
        secalloc.Arena(1, require=flag).close()
    except secalloc.ProtectionError as error:
        why, _, mend = str(error.strerror).partition("to be had: ")[2].partition("; ")
        absent = "this platform does not have it" in mend
        return Check(
            name,
            "note" if absent else "missing",
            f"not to be had: {_MEANING[flag]}",
            mend if absent else why,
            "Linux has it" if absent else mend or "no way is known",
        )
    except (OSError, MemoryError) as error:
        return Check(name, "missing", "no arena can be made", str(error), "see the reason")
    return Check(
        name, "ok", _MEANING[flag], "an arena was made, and the kernel granted it", _NOTHING
    )


_MORE_LOCKED = (
    "ulimit -l 8192 (in KiB); LimitMEMLOCK=8M in a systemd unit; --ulimit memlock=8388608 "
    "for a container; or a memlock line in /etc/security/limits.conf"
)


def _lock_limit() -> Check:
    with secalloc.Arena(1):
        status = secalloc.status()
    used = f"{_bytes(status.locked_bytes)} in use by one arena and what is kept for more"
    if status.lock_limit is None:
        why = "the process may lock all memory (root, CAP_IPC_LOCK or an unlimited limit)"
        return Check("lock limit", "ok", f"none; {used}", why, _NOTHING)
    fits = status.lock_limit // mmap.PAGESIZE
    why = (
        f"an arena takes a page of {_bytes(mmap.PAGESIZE)} at least: {fits} fit, or some "
        f"{status.lock_limit // 48} secrets of 32 bytes in pools"
    )
    few = status.lock_limit < _ENOUGH
    what = f"{_bytes(status.lock_limit)}; {used}"
    mend = _MORE_LOCKED if few else _NOTHING
    return Check("lock limit", "missing" if few else "ok", what, why, mend)


def _secretmem_limit() -> Check:
    name = "user limit"
    with secalloc.Arena(1):
        status = secalloc.status()
    if status.backend != "secretmem":
        return Check(name, "ok", "none", "arenas do not lie in secretmem here", _NOTHING)
    if not status.secretmem_shared:
        why = "this kernel counts secretmem as memory that the process has locked"
        return Check(name, "ok", "none of its own", why, _NOTHING)
    used = f"{_bytes(status.secretmem_bytes)} in use by one arena and what is kept for more"
    if status.secretmem_limit is None:
        return Check(name, "ok", f"none; {used}", "RLIMIT_MEMLOCK is unlimited", _NOTHING)
    why = (
        "this kernel counts secretmem for all processes of a user together, root's too: "
        f"{status.secretmem_limit // mmap.PAGESIZE} pages; arenas past it lie in memory that is "
        "only locked"
    )
    few = status.secretmem_limit < _ENOUGH
    what = f"{_bytes(status.secretmem_limit)} for all processes of this user; {used}"
    return Check(name, "missing" if few else "ok", what, why, _MORE_LOCKED if few else _NOTHING)


def _map_limit() -> Check:
    text = _text_of("/proc/sys/vm/max_map_count")
    if text is None or not text.isdigit():
        why = "this system sets none" if not _LINUX else "/proc/sys/vm is not to be read"
        return Check("map limit", "ok", "none known", why, _NOTHING)
    few = int(text) < _USUAL_MAPS
    why = f"an arena takes two memory maps: about {int(text) * 15 // 32} can live at once"
    mend = f"sysctl vm.max_map_count={_USUAL_MAPS}" if few else _NOTHING
    return Check("map limit", "missing" if few else "ok", f"{text} maps", why, mend)


def _core_files() -> Check:
    name, dumpable = "core files", _core._dumpable()
    if dumpable is False:
        return Check(name, "ok", "none", "the process is not dumpable", _NOTHING)
    soft = resource.getrlimit(resource.RLIMIT_CORE)[0]
    pattern = _core_pattern()
    piped = pattern.startswith("|")
    mend = "secalloc.harden() in the program, or python -m secalloc run"
    if soft == 0 and not piped:
        why = f"their limit is 0; else they would go to {pattern}"
        return Check(name, "ok", "none", why, "secalloc.harden() keeps it so")
    size = "of any size" if soft == resource.RLIM_INFINITY else f"of up to {_bytes(soft)}"
    if piped:
        what = f"a crash hands all memory to {pattern[1:].split()[0]}, whatever the limit"
        mend += "; or sysctl kernel.core_pattern=core, and ulimit -c 0"
    else:
        what = f"a crash writes one {size} to {pattern}"
        mend += "; or ulimit -c 0"
    why = "arenas are wiped and left out of it, but not copies that others made on the heap"
    return Check(name, "missing", what, why, mend)


def _try_harden() -> tuple[str, ...]:
    """What harden() would be refused, found out in a child process."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(write, json.dumps(secalloc.harden().refused).encode())
        finally:
            os._exit(0)
    os.close(write)
    with open(read, "rb") as end:
        said = end.read()
    os.waitpid(pid, 0)
    return tuple(json.loads(said)) if said else ("the child process that tried it failed",)


def _dumpable() -> Check:
    name, dumpable = "dumpable", _core._dumpable()
    refused = _try_harden()
    if refused:
        what = "harden() is refused" if dumpable is not False else "no, but harden() is refused"
        why, _, mend = "; ".join(refused).rpartition("; ")
        return Check(name, "missing", what, why or mend, mend)
    if dumpable is None:
        return Check(name, "ok", "no such flag here", "harden() works", "secalloc.harden()")
    if not dumpable:
        why = "no core is written, and /proc shows its memory to root alone"
        return Check(name, "ok", "no", why, _NOTHING)
    why = "every program starts so; harden() ends it, and works here"
    return Check(name, "note", "yes", why, "secalloc.harden() in the program")


def _debuggers(*, secretmem: bool) -> Check:
    name, dumpable = "debuggers", _core._dumpable()
    status = _text_of("/proc/self/status") or ""
    tracer = status.partition("TracerPid:")[2].split()[:1]
    if tracer and tracer != ["0"]:
        why = f"process {tracer[0]} traces this one"
        return Check(name, "missing", "one is attached", why, "detach it")
    if dumpable is False:
        return Check(name, "ok", "kept out", "the process is not dumpable", _NOTHING)
    if not _LINUX:
        why = "nothing forbids ptrace as yet"
        return Check(name, "note", "may attach", why, "secalloc.harden() in the program")
    if os.geteuid() == 0:
        return Check(name, "ok", "root's alone", "this process is root's", _NOTHING)
    scope = _text_of("/proc/sys/kernel/yama/ptrace_scope")
    if scope not in (None, "0"):
        who = {"1": "only what started it may attach", "2": "only root may attach"}
        what = who.get(str(scope), "nobody may attach")
        return Check(name, "ok", what, f"kernel.yama.ptrace_scope is {scope}", _NOTHING)
    why = "kernel.yama.ptrace_scope is 0" if scope == "0" else "there is no Yama in this kernel"
    what = "any process of this user may attach, "
    what += "though it reads no secretmem" if secretmem else "and read arenas"
    mend = "secalloc.harden() in the program; or sysctl kernel.yama.ptrace_scope=1"
    return Check(name, "note" if secretmem else "missing", what, why, mend)


def _swap(*, locked: bool) -> Check:
    lines = (_text_of("/proc/swaps") or "").splitlines()[1:]
    if not _LINUX:
        return Check("swap", "ok", "encrypted", "macOS encrypts what it swaps", _NOTHING)
    if not lines:
        return Check("swap", "ok", "none", "/proc/swaps lists nothing", _NOTHING)
    where = ", ".join(line.split()[0] for line in lines)
    mend = "encrypt it, or swapoff -a"
    if locked:
        why = "arenas are locked and stay out of it; copies on the heap do not"
        return Check("swap", "note", f"on {where}", why, mend)
    return Check("swap", "missing", f"on {where}", "arenas cannot be locked, and go there", mend)


def _hibernation(*, secretmem: bool) -> Check:
    name = "hibernation"
    if _text_of("/sys/power/image_size") is None:
        why = "this kernel has it not" if _LINUX else "not known here"
        return Check(name, "ok", "none", why, _NOTHING)
    if secretmem:
        why = "any secretmem in use keeps the whole machine from it"
        mend = "secalloc.configure(secretmem=False), where it is to hibernate"
        return Check(name, "ok", "not while an arena lives", why, mend)
    # An arena of this process would be a reason as well: only now does this tell of others'.
    if "disk" not in (_text_of("/sys/power/state") or "").split():
        why = "another program's secretmem, nohibernate or lockdown keeps the kernel from it"
        return Check(name, "note", "not now", why, "encrypt swap, if that may end")
    why = "without secretmem it writes all memory to the disk, locked pages too"
    return Check(
        name, "missing", "possible", why, "encrypt swap, or systemctl mask hibernate.target"
    )


def _handlers() -> Check:
    with secalloc.Arena(1):
        handlers = secalloc.status().handlers
    names = {Signals[f"SIG{name}"]: name for name in _FORCED}
    bad = [f"{names[s]} {handlers[s]}" for s in names if handlers[s] != "armed"]
    others = [s for s in handlers if isinstance(s, Signals) and s not in names]
    rest = [s.name[3:] for s in others if handlers[s] != "armed"]
    left = f"; left to others, who handle or ignore them: {', '.join(rest)}" if rest else ""
    why = f"a crash wipes every arena before the process dies{left}"
    if bad:
        return Check("handlers", "missing", ", ".join(bad), why, "secalloc.arm()")
    return Check("handlers", "ok", f"armed: {', '.join(_FORCED)}", why, _NOTHING)


def _signal_stack() -> Check:
    kind = secalloc.status().alt_stack
    why = "the handler runs on a stack of its own, so that it survives a stack overflow"
    if kind in ("ours", "foreign"):
        return Check("signal stack", "ok", kind, why, _NOTHING)
    mend = "let the library make it: use an arena before another library sets a small one"
    return Check("signal stack", "missing", kind, why, mend)


def _by_run() -> bool:
    """Whether it is the library of `run` that overwrites; else the allocators do themselves."""
    return hasattr(ctypes.CDLL(None), "secalloc_run_lend")


def _freed_memory() -> Check:
    if _core._frees_are_overwritten():
        why = "the allocator overwrites what is freed"
        if _by_run():
            why = (
                "the library of python -m secalloc run overwrites what is freed, C libraries' "
                "memory too, and takes that from the shelter in sheltered calls"
            )
        return Check("freed memory", "ok", "overwritten", why, _NOTHING)
    why = "so do str and bytes that once held a secret, until the memory is used again"
    mend = "python -m secalloc run, for a program that cannot keep them out"
    return Check("freed memory", "note", "keeps its content", why, mend)


def examine() -> list[Check]:
    """Look at everything, making a few arenas for it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", secalloc.ProtectionWarning)  # told by the checks
        checks = [_protection(flag) for flag in Protection]
        has = {check.name for check in checks if check.state == "ok"}
        return [
            *checks,
            _lock_limit(),
            _secretmem_limit(),
            _map_limit(),
            _core_files(),
            _dumpable(),
            _debuggers(secretmem="SECRETMEM" in has),
            _swap(locked="LOCK" in has),
            _hibernation(secretmem="SECRETMEM" in has),
            _handlers(),
            _signal_stack(),
            _freed_memory(),
        ]


def _system() -> str:
    return f"{platform.system()} {platform.release()} {platform.machine()}"


def _row(lead: str, text: str, indent: int) -> str:
    """Wrapped to 80 columns, the lead hanging out to the left."""
    return textwrap.fill(
        text,
        79,
        initial_indent=lead.ljust(indent),
        subsequent_indent=" " * indent,
        break_on_hyphens=False,
    )


def _show(checks: list[Check]) -> None:
    colour = has_colour(sys.stdout)
    colours = {"ok": "green", "note": "yellow", "missing": "red"}
    print(f"secalloc {secalloc.__version__} on {_system()}, Python {platform.python_version()}\n")
    for check in checks:
        first = _row(f"{check.state:<9}{check.name}", check.what, 23)
        state, rest = first[: len(check.state)], first[len(check.state) :]
        print(paint(state, colours[check.state], on=colour) + rest)
        print(_row(" " * 9 + "why", check.why, 23))
        print(_row(" " * 9 + "mend", check.mend, 23))
    missing = [check.name for check in checks if check.state == "missing"]
    print(f"\nmissing: {', '.join(missing)}" if missing else "\nall is well")


def main(*, as_json: bool = False) -> int:
    """Look, and print it; 0 where all is well, 1 where something is missing."""
    checks = examine()
    well = all(check.state != "missing" for check in checks)
    if as_json:
        answer = {
            "version": secalloc.__version__,
            "system": _system(),
            "python": platform.python_version(),
            "well": well,
            "checks": [check._asdict() for check in checks],
        }
        print(json.dumps(answer, indent=2))
    else:
        _show(checks)
    return 0 if well else 1
