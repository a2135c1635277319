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
import warnings
from pathlib import Path
from signal import Signals

import secalloc
from secalloc import Protection, _core
from secalloc._commands.answer import print_json
from secalloc._commands.report import Check, State, show

_LINUX = sys.platform == "linux"
_FORCED = ("SEGV", "BUS", "ILL", "FPE", "ABRT", "SYS", "TRAP")
_ENOUGH = 2**20
_USUAL_MAPS = 65530
_NOTHING = "nothing to do"


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


def _with_numbers(mend: str) -> str:
    """The core's advice; where that is to raise the limit, with how far and by what."""
    if not mend.startswith("raise it with ulimit -l"):
        return mend
    return _more_locked(resource.getrlimit(resource.RLIMIT_MEMLOCK)[0])


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
            "Linux has it" if absent else _with_numbers(mend) or "no way is known",
            "not to be had",
        )
    except (OSError, MemoryError) as error:
        return Check(name, "missing", "no arena can be made", str(error), "see the reason")
    return Check(
        *(name, "ok", _MEANING[flag], "an arena was made, and the kernel granted it", _NOTHING),
        brief="granted",
    )


_USUAL_LOCKED = 8 * 2**20


def _more_locked(now: int) -> str:
    """How to raise a limit of locked memory to the usual one, and what that is good for."""
    pages = _USUAL_LOCKED // mmap.PAGESIZE
    hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]
    root = ""
    if hard != resource.RLIM_INFINITY and hard < _USUAL_LOCKED:
        root = f"; the hard limit is {_bytes(hard)}, which root alone can raise"
    return (
        f"from {_bytes(now)} to {_bytes(_USUAL_LOCKED)}, {pages} arenas: "
        f"ulimit -l {_USUAL_LOCKED // 1024} (in KiB); LimitMEMLOCK=8M in a systemd unit; "
        f"--ulimit memlock={_USUAL_LOCKED} for a container; or a line "
        f"`* - memlock {_USUAL_LOCKED // 1024}` in /etc/security/limits.conf{root}"
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
    mend = _more_locked(status.lock_limit) if few else _NOTHING
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
    mend = _more_locked(status.secretmem_limit) if few else _NOTHING
    brief = f"{_bytes(status.secretmem_limit)} a user"
    return Check(name, "missing" if few else "ok", what, why, mend, brief)


def _map_limit() -> Check:
    text = _text_of("/proc/sys/vm/max_map_count")
    if text is None or not text.isdigit():
        why = "this system sets none" if not _LINUX else "/proc/sys/vm is not to be read"
        return Check("map limit", "ok", "none known", why, _NOTHING)
    few = int(text) < _USUAL_MAPS
    why = f"an arena takes two memory maps: about {int(text) * 15 // 32} can live at once"
    more = f"{_USUAL_MAPS * 15 // 32} arenas: sysctl vm.max_map_count={_USUAL_MAPS}"
    mend = more if few else _NOTHING
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
        who = {
            "1": ("only what started it may attach", "its parent's alone"),
            "2": ("only root may attach", "root's alone"),
        }
        what, brief = who.get(str(scope), ("nobody may attach", ""))
        return Check(name, "ok", what, f"kernel.yama.ptrace_scope is {scope}", _NOTHING, brief)
    why = "kernel.yama.ptrace_scope is 0" if scope == "0" else "there is no Yama in this kernel"
    what = "any process of this user may attach, "
    what += "though it reads no secretmem" if secretmem else "and read arenas"
    mend = "secalloc.harden() in the program; or sysctl kernel.yama.ptrace_scope=1"
    state: State = "note" if secretmem else "missing"
    return Check(name, state, what, why, mend, "this user's may")


def _swap(*, locked: bool) -> Check:
    lines = (_text_of("/proc/swaps") or "").splitlines()[1:]
    if not _LINUX:
        return Check("swap", "ok", "encrypted", "macOS encrypts what it swaps", _NOTHING)
    if not lines:
        return Check("swap", "ok", "none", "/proc/swaps lists nothing", _NOTHING)
    where = ", ".join(line.split()[0] for line in lines)
    size, used = (sum(int(line.split()[n]) * 1024 for line in lines) for n in (2, 3))
    mend = f"encrypt it, or swapoff -a: {_bytes(size)}, of which {_bytes(used)} go back to memory"
    if locked:
        why = "arenas are locked and stay out of it; copies on the heap do not"
        return Check("swap", "note", f"on {where}", why, mend, "there is some")
    return Check("swap", "missing", f"on {where}", "arenas cannot be locked, and go there", mend)


def _hibernation(*, secretmem: bool) -> Check:
    name = "hibernation"
    if _text_of("/sys/power/image_size") is None:
        why = "this kernel has it not" if _LINUX else "not known here"
        return Check(name, "ok", "none", why, _NOTHING)
    if secretmem:
        why = "any secretmem in use keeps the whole machine from it"
        mend = "secalloc.configure(secretmem=False), where it is to hibernate"
        return Check(name, "ok", "not while an arena lives", why, mend, "not now")
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
    return Check("handlers", "ok", f"armed: {', '.join(_FORCED)}", why, _NOTHING, "armed")


def _signal_stack() -> Check:
    kind = secalloc.status().alt_stack
    why = "the handler runs on a stack of its own, so that it survives a stack overflow"
    if kind in ("ours", "foreign"):
        return Check("signal stack", "ok", kind, why, _NOTHING)
    mend = (
        "let the library make it, of 256 KiB: use an arena on the thread before another library "
        "sets a smaller one"
    )
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


def main(*, as_json: bool = False, verbose: bool = False) -> int:
    """Look, and print it; 0 where all is well, 1 where something is missing.

    What is missing with its reason and what mends it; `verbose`: all that was looked at.
    """
    checks = examine()
    well = all(check.state != "missing" for check in checks)
    if as_json:
        answer = {
            "system": _system(),
            "python": platform.python_version(),
            "well": well,
            "checks": [check.told() for check in checks],
        }
        print_json(answer)
    else:
        show(
            f"secalloc {secalloc.__version__} on {_system()}, Python {platform.python_version()}",
            checks,
            verbose=verbose,
        )
    return 0 if well else 1
