"""Runs a program hardened, its freed heap memory overwritten: ``python -m secalloc run``.

The interpreter is started anew with the program and its arguments as it would be without
this, so that nothing differs for the program; only that the environment chooses what
overwrites, and that a sitecustomize of ours comes first, which hardens the process and makes
the environment what it was. What allocators are told cannot be changed later, which is
why the interpreter has to be started anew.

What overwrites is a small library of ours (csrc/run), loaded before the program, where there
is one and it works; else what the allocators themselves offer, at a higher price.
"""

import os
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import NoReturn

from secalloc import _core
from secalloc._commands.answer import Help
from secalloc._commands.paint import width_to_fill

_HERE = os.path.dirname(os.path.abspath(__file__))
_STARTED = {False: "python [options] -m secalloc", True: "secalloc"}
ABOUT = """\
Run a program hardened, its freed memory overwritten.

The process writes no core file, and no other process of the same user reads it. The allocator
overwrites what is freed: a secret that was once a str or bytes is gone from memory as soon as
nothing refers to it. The program sees sys.argv, sys.path, the environment, standard input and
its exit as without this. Processes that it starts are ordinary ones. Options of the interpreter
go before -m secalloc.

What cannot be had is told on standard error, and the program runs."""
_STATUS = "Exit status: the program's, 2 for bad usage, 126 where the program was not started."

_WAS = "_SECALLOC_RUN_"
_NAMES = ("PYTHONPATH", "PYTHONMALLOC", "GLIBC_TUNABLES", "LD_PRELOAD")
_BY_LIBRARY = "_SECALLOC_RUN_BY_LIBRARY"  # set while ours is tried
_PERTURB = "glibc.malloc.perturb"
_SLOWLY = "its library does not work %s; freed memory is overwritten more slowly"
# Free blocks go neither to the thread's cache nor to the fast bins, which do not overwrite.
_TUNABLES = {_PERTURB: "255", "glibc.malloc.tcache_count": "0", "glibc.malloc.mxfast": "0"}


def has_glibc() -> bool:
    """Whether the C library is one whose allocator can overwrite what is freed."""
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (AttributeError, ValueError, OSError):
        return False


def allocator(*, glibc: bool, tunables: str = "") -> dict[str, str]:
    """Environment variables that make the allocator overwrite what is freed.

    With glibc every free() of the process does: Python's own allocator is put out of the
    way (man 3 mallopt, M_PERTURB). Elsewhere, and without a GIL, where Python has but one
    allocator, its debug hooks do so for what Python frees; not for what C libraries do.
    `tunables` is what GLIBC_TUNABLES says now.
    """
    if not glibc or "t" in sys.abiflags:
        return {"PYTHONMALLOC": "debug"}
    kept = [t for t in tunables.split(":") if t and t.partition("=")[0] not in _TUNABLES]
    ours = [f"{name}={value}" for name, value in _TUNABLES.items()]
    return {"PYTHONMALLOC": "malloc", "GLIBC_TUNABLES": ":".join(kept + ours)}


def library() -> str | None:
    """The library that overwrites, as LD_PRELOAD names it; None where it is of no use.

    It is in wheels for glibc and Pythons with a GIL. The loader takes no name with a space.
    Development mode wraps Python's allocator in a way that puts ours aside.
    """
    path = os.path.join(os.path.dirname(_HERE), "_run.so")
    usable = os.path.exists(path) and not sys.flags.dev_mode and " " not in path
    return path if usable else None


def _switched_on(value: str) -> bool:
    try:
        return int(value or "0", 0) != 0
    except ValueError:
        return value.strip("0") != ""  # 010, which glibc takes


def unfit(environ: Mapping[str, str], glibc: tuple[int, ...], machine: str) -> str | None:
    """What of an environment gives the C library's blocks another shape than `library` knows.

    None: nothing. Before glibc 2.34 its malloc itself can check blocks, by a byte behind each
    (later a library of glibc's does, which is seen to be another allocator); on AArch64 it can
    give pointers a tag that the word before a block has not (man 7 arm-mte).
    """
    tunables = dict(t.partition("=")[::2] for t in environ.get("GLIBC_TUNABLES", "").split(":"))
    if glibc < (2, 34):
        if _switched_on(environ.get("MALLOC_CHECK_", "")):
            return "under MALLOC_CHECK_"
        if _switched_on(tunables.get("glibc.malloc.check", "")):
            return "under glibc.malloc.check"
    if machine == "aarch64" and _switched_on(tunables.get("glibc.mem.tagging", "")):
        return "under glibc.mem.tagging"
    return None


def _glibc() -> tuple[int, ...]:
    version = os.confstr("CS_GNU_LIBC_VERSION") or ""  # "glibc 2.36"
    return tuple(int(part) for part in version.split()[-1].split(".")[:2])


def _interpreter_options(*, by_script: bool) -> list[str]:
    """What stands between the interpreter and ``-m secalloc``, or the script that is installed.

    ValueError: neither stands there.
    """
    end = len(sys.orig_argv) - len(sys.argv) + 1  # sys.argv[0] is the module, not an argument
    options = list(sys.orig_argv[1:end])
    last = options.pop() if options else ""
    if by_script and last:
        return options
    last = options.pop() if last == "secalloc" and options else last.removesuffix("secalloc")
    if not (last.startswith("-") and last.endswith("m")):
        raise ValueError("it was not started as python -m secalloc run")
    return options if last == "-m" else [*options, last[:-1]]


def _objection(program: Sequence[str]) -> str | None:
    """Why this cannot be run; None: it can."""
    first = program[0] if program else ""
    if not first:
        return "a script, -m module, -c code, or - for standard input is needed"
    if first in ("-m", "-c") and len(program) == 1:
        return f"{first} needs an argument"
    if first.startswith("-") and first != "-" and first[:2] not in ("-m", "-c"):
        return f"{first}: options of the interpreter go before -m secalloc"
    for name, why in (
        ("ignore_environment", "-E and -I keep the interpreter from reading PYTHONMALLOC"),
        ("no_site", "-S keeps the interpreter from being hardened before the program runs"),
    ):
        if getattr(sys.flags, name):
            return why
    return None


def main(program: Sequence[str], *, by_script: bool = False) -> int:
    """Run a program as the arguments name it; returns only where it does not run.

    `by_script`: the installed `secalloc` called it, rather than ``-m secalloc``.
    """
    usage = f"usage: {_STARTED[by_script]} run (script | -m module | -c code | -) [args ...]"
    usage = textwrap.fill(usage, width_to_fill(sys.stdout), subsequent_indent="           ")
    if program and program[0] in ("-h", "--help"):
        help_of = Help(prog="run")
        for text in (ABOUT, _STATUS):
            help_of.add_text(text)
        print(f"{usage}\n\n{help_of.format_help()}", end="")
        return 0
    objection = _objection(program)
    if objection:
        print(f"{usage}\nsecalloc run: error: {objection}", file=sys.stderr)
        return 2
    try:
        _replace(program, by_script=by_script)
    except (OSError, ValueError) as error:
        print(f"secalloc run: the program was not started: {error}", file=sys.stderr)
        return 126


def _replace(program: Sequence[str], *, by_script: bool) -> NoReturn:
    """Put an interpreter that runs the program in the place of this one."""
    ours = library()
    why = unfit(os.environ, _glibc(), os.uname().machine) if ours else None
    if why:
        sys.stderr.write(f"secalloc run: {_SLOWLY % why}\n")
        sys.stderr.flush()
        ours = None
    _start([sys.orig_argv[0], *_interpreter_options(by_script=by_script), *program], ours)


def _start(command: Sequence[str], ours: str | None) -> NoReturn:
    """Start the interpreter anew, with `ours`, the library, or what allocators offer.

    ValueError: the new interpreter would not find what hardens it.
    """
    start = os.path.join(_HERE, "start")
    if os.pathsep in start:
        raise ValueError(f"PYTHONPATH cannot name a directory with a {os.pathsep!r}: {start}")
    environment = dict(os.environ)
    if "secalloc._channel.takeover" in sys.modules:
        from secalloc._channel import takeover  # noqa: PLC0415

        takeover.pass_on(environment)
    path = environment.get("PYTHONPATH")
    given = {"PYTHONPATH": f"{start}{os.pathsep}{path}" if path else start}
    if ours:
        loaded = environment.get("LD_PRELOAD")
        given |= {"LD_PRELOAD": f"{ours}:{loaded}" if loaded else ours, _BY_LIBRARY: "1"}
    else:
        tunables = environment.get("GLIBC_TUNABLES", "")
        given |= allocator(glibc=has_glibc(), tunables=tunables)
    for name in _NAMES:
        if name in environment:
            environment[_WAS + name] = environment[name]
    if ours:
        environment.pop("PYTHONMALLOC", None)  # it would put Python's own in the place of ours
    os.execve(sys.executable, [*command], environment | given)  # noqa: S606 - no shell is wanted


def begin(directory: str) -> None:
    """In the new interpreter, before the program: put things back, and harden.

    `directory` is where the file that calls this was found.
    """
    sys.path[:] = [entry for entry in sys.path if entry != directory]
    sys.path_importer_cache.pop(directory, None)
    for name in _NAMES:
        os.environ.pop(name, None)
        was = os.environ.pop(_WAS + name, None)
        if was is not None:
            os.environ[name] = was
    overwritten = _core._frees_are_overwritten()
    if os.environ.pop(_BY_LIBRARY, None) and not overwritten:
        sys.stderr.write(f"secalloc run: {_SLOWLY % 'in this Python'}\n")
        _start(sys.orig_argv, None)
    refused = list(_core.harden().refused)
    if not overwritten:
        refused.append("the allocator does not overwrite freed memory")
    for text in refused:
        sys.stderr.write(f"secalloc run: {text}\n")
