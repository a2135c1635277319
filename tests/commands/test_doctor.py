"""python -m secalloc doctor, on machines of several kinds."""

import errno
import json
import os
import pty
import re
import subprocess
import sys
import termios
import textwrap
from typing import Any

import pytest
from support import check, linux_only, run, x86_or_arm_linux

import secalloc
from secalloc import Protection
from secalloc._commands.paint import has_colour, width_of
from secalloc._commands.run import allocator, has_glibc, library

COMMAND = [sys.executable, "-P", "-m", "secalloc", "doctor"]
NAMES = [
    *("GUARD", "LOCK", "SECRETMEM", "NODUMP", "NOFORK"),
    *(
        "lock limit",
        "user limit",
        "map limit",
        "core files",
        "dumpable",
        "debuggers",
        "swap",
        "hibernation",
    ),
    *("handlers", "signal stack", "freed memory"),
]


def doctor(*arguments: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    line = [*COMMAND, *arguments]
    given: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 300, **options}
    return subprocess.run(line, check=False, **given)  # noqa: S603


def examined(setup: str, **options: Any) -> tuple[int, dict[str, dict[str, str]]]:
    """The exit status and the checks in a process that did something to itself first."""
    end = run(
        f"""
        import secalloc._commands.doctor as doctor, json
        secalloc.status()  # all that is loaded late, before its files are out of reach
        {setup}
        sys.exit(doctor.main(as_json=True))
        """,
        marker=False,
        **options,
    )
    assert end.err == "", end
    answer = json.loads(end.out)
    assert answer["well"] is (end.code == 0)
    return end.code, {each["name"]: each for each in answer["checks"]}


def test_every_line_has_what_why_and_mend() -> None:
    end = doctor("--json")
    answer = json.loads(end.stdout)
    assert [each["name"] for each in answer["checks"]] == NAMES
    for each in answer["checks"]:
        assert set(each) == {"name", "state", "what", "why", "mend"}
        assert each["state"] in ("ok", "note", "missing")
        assert all(each.values()), each
    assert answer["version"] == secalloc.__version__
    assert end.returncode == (0 if answer["well"] else 1)
    assert answer["well"] is all(each["state"] != "missing" for each in answer["checks"])


def test_the_text_tells_the_same_in_80_columns() -> None:
    env = {name: text for name, text in os.environ.items() if name != "COLUMNS"}
    texts = doctor("-v", env=env)
    lines = texts.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert texts.stderr == ""
    assert "\033" not in texts.stdout
    heads = [line[8:22].strip() for line in lines[:-1]]  # the last tells again what is missing
    for name in NAMES:
        assert heads.count(name) == 1, name
    assert sum(line[8:22].strip() == "why" for line in lines) == len(NAMES)
    assert sum(line[8:22].strip() == "mend" for line in lines) == len(NAMES)
    assert lines[-1].startswith("all is well" if texts.returncode == 0 else "missing: ")


SHOWN = """
    from secalloc._commands import doctor
    from secalloc._commands.report import Check, show
    found = doctor.examine()
    fine = [each for each in found if each.state != "missing"]
    print(len(fine))
    lock = next(each for each in found if each.name == "lock limit")
    lacks = lock._replace(state="missing", mend=doctor._more_locked(65536))
    for checks in (fine, [*fine, lacks]):
        for verbose in (False, True):
            print("=====")
            show("about", checks, verbose=verbose)
"""


def judged(out: str, width: int) -> None:
    """A line each where all is well, more where something is missing or all was asked for."""
    count, well, asked, lacking, both = out.replace("\r", "").split("=====\n")
    assert all(len(line) <= width for line in out.replace("\r", "").splitlines()), out
    rows = well.split("\n\n")[1].splitlines()
    assert len(rows) == int(count), well
    assert all(row[:8].strip() in ("ok", "note") for row in rows), well
    assert well.endswith("\n\nall is well; -v tells why of each\n")
    rows = lacking.split("\n\n")[1].splitlines()
    at = next(i for i, row in enumerate(rows) if row.startswith("missing lock limit"))
    assert at == int(count)
    assert {row.split()[0] for row in rows[at:]} >= {"missing", "why", "mend"}
    advice = " ".join(" ".join(rows[at:]).split())
    assert "from 64 KiB to 8 MiB" in advice
    assert "ulimit -l 8192" in advice
    assert "missing: lock limit" in lacking
    for text in (asked, both):
        told = [line.split()[0] for line in text.splitlines() if line.strip()]
        assert told.count("why") >= int(count)
        assert told.count("mend") >= int(count)


def test_every_width_without_a_terminal() -> None:
    out = check(f"""
        import contextlib, io
        code = {SHOWN!r}
        for width in (40, 57, 80, 200):
            os.environ["COLUMNS"] = str(width)
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(__import__("textwrap").dedent(code))
            print(out.getvalue(), end="#####")
    """)
    for width, text in zip((40, 57, 80, 200), out.split("#####"), strict=False):
        judged(text, width)


@pytest.mark.parametrize(
    ("width", "env"), [(40, {}), (80, {"TERM": "dumb"}), (200, {"NO_COLOR": "1"})]
)
def test_every_width_of_a_terminal(width: int, env: dict[str, str]) -> None:
    """What COLUMNS says counts for nothing there."""
    code = textwrap.dedent(SHOWN)
    out = typed([sys.executable, "-P", "-c", code], {"COLUMNS": "60", **env}, width).decode()
    assert ("\033[31mmissing\033[0m" in out) is (not env)
    judged(re.sub("\033\\[[0-9]*m", "", out), width)


@linux_only
def test_a_full_machine() -> None:
    """Hardened and with all protections there is nothing left to be noted but the swap."""
    if set(secalloc.Arena(1).protection) != set(Protection):
        pytest.skip("this machine lacks a protection")
    code, checks = examined("secalloc.harden()")
    states = {name: each["state"] for name, each in checks.items()}
    if states["lock limit"] == states["map limit"] == "ok":
        assert code == 0, states
    assert {n for n, s in states.items() if s == "note"} <= {"swap", "freed memory"}
    for name in ("core files", "dumpable", "debuggers", "handlers", "signal stack"):
        assert states[name] == "ok", checks[name]
    assert checks["dumpable"]["what"] == "no"


@linux_only
def test_a_lock_limit_of_64_kib() -> None:
    code, checks = examined("limit(resource.RLIMIT_MEMLOCK, 65536); become_nobody()")
    assert code == 1
    assert checks["LOCK"]["state"] == "ok"
    row = checks["lock limit"]
    assert row["state"] == "missing"
    assert row["what"].startswith("64 KiB; ")
    assert f"{65536 // os.sysconf('SC_PAGESIZE')} fit" in row["why"]
    pages = 8 * 2**20 // os.sysconf("SC_PAGESIZE")
    for way in (
        f"from 64 KiB to 8 MiB, {pages} arenas",
        "ulimit -l 8192",
        "LimitMEMLOCK=8M",
        "* - memlock 8192",
        "limits.conf",
        "the hard limit is 64 KiB",
    ):
        assert way in row["mend"]


@linux_only
def test_no_lock_at_all() -> None:
    code, checks = examined("limit(resource.RLIMIT_MEMLOCK, 0); become_nobody()")
    assert code == 1
    row = checks["LOCK"]
    assert row["state"] == "missing"
    assert "RLIMIT_MEMLOCK is 0" in row["why"]
    assert "ulimit -l 8192" in row["mend"]
    assert "from 0 bytes to 8 MiB" in row["mend"]
    assert checks["swap"]["state"] in ("ok", "missing")


@x86_or_arm_linux
@pytest.mark.parametrize("error", ["EPERM", "ENOSYS"])
def test_seccomp_without_memfd_secret(error: str) -> None:
    code, checks = examined(f"become_nobody(); deny('memfd_secret', errno.{error})")
    assert code == 1
    row = checks["SECRETMEM"]
    assert row["state"] == "missing"
    assert os.strerror(getattr(errno, error)) in row["why"]
    assert "memfd_secret" in row["why"]
    assert "seccomp" in row["mend"]
    if error == "EPERM":
        assert "SystemCallFilter=@system-service memfd_secret" in row["mend"]
    assert checks["LOCK"]["state"] == "ok"
    assert (
        "and read arenas" in checks["debuggers"]["what"]
        or "attach" in (checks["debuggers"]["what"])
    )


@linux_only
@pytest.mark.parametrize("secretmem", [True, False])
@pytest.mark.parametrize(
    ("size", "state", "without"),
    [
        ("1048576", "freeze mem disk", ("missing", "possible")),
        ("1048576", "freeze mem", ("note", "not now")),
        (None, "freeze mem", ("ok", "none")),
    ],
)
def test_hibernation(
    secretmem: bool, size: str | None, state: str, without: tuple[str, str]
) -> None:
    """Its own arena takes `disk` out of the kernel's list: that is no proof of anything."""
    _, checks = examined(f"""
        secalloc.configure(secretmem={secretmem})
        real = doctor._text_of
        ours = {{"/sys/power/image_size": {size!r}, "/sys/power/state": {state!r}}}
        doctor._text_of = lambda path: ours[path] if path in ours else real(path)
    """)
    found = checks["hibernation"]["state"], checks["hibernation"]["what"]
    if size and checks["SECRETMEM"]["state"] == "ok":
        assert found == ("ok", "not while an arena lives")
    else:
        assert found == without


@linux_only
def test_what_to_do_about_swap_and_few_maps_has_figures() -> None:
    swaps = "Filename Type Size Used Priority\\n/dev/dm-1 partition 2097152 1024 -2"
    _, checks = examined(f"""
        real = doctor._text_of
        ours = {{"/proc/swaps": "{swaps}", "/proc/sys/vm/max_map_count": "1000"}}
        doctor._text_of = lambda path: ours[path] if path in ours else real(path)
    """)
    assert checks["swap"]["what"] == "on /dev/dm-1"
    assert "swapoff -a: 2 GiB, of which 1 MiB go back to memory" in checks["swap"]["mend"]
    assert checks["map limit"]["mend"] == "30717 arenas: sysctl vm.max_map_count=65530"


@linux_only
def test_dumpable_with_core_files_on() -> None:
    hard = "resource.getrlimit(resource.RLIMIT_CORE)[1]"
    code, checks = examined(
        f"assert {hard} != 0; limit(resource.RLIMIT_CORE, 4096, {hard}); become_nobody()"
    )
    assert code == 1
    row = checks["core files"]
    assert row["state"] == "missing"
    assert "a crash " in row["what"]
    assert "harden()" in row["mend"]
    assert "ulimit -c 0" in row["mend"]
    assert checks["dumpable"]["what"] == "yes"
    assert checks["dumpable"]["state"] == "note"


@pytest.mark.parametrize("said", [b"", b"/private/tmp/core.%N"])
def test_where_core_files_go_on_macos(said: bytes) -> None:
    """From kern.corefile, asked of the C library; made up here."""
    _, checks = examined(f"""
        class Library:
            def sysctlbyname(self, name, text, size, none, zero):
                assert (name, size._obj.value, none, zero) == (b"kern.corefile", 1024, None, 0)
                text.value = {said!r}
                return 0
        doctor._LINUX = False
        doctor._core._dumpable = lambda: None
        doctor.ctypes.CDLL = lambda path: Library()
    """)
    why = checks["core files"]["why"]
    assert why == f"their limit is 0; else they would go to {said.decode() or '/cores/core.%P'}"


@x86_or_arm_linux
def test_harden_that_is_refused() -> None:
    code, checks = examined("deny('prctl', errno.EPERM)")
    assert code == 1
    row = checks["dumpable"]
    assert row["state"] == "missing"
    assert "prctl(PR_SET_DUMPABLE): Operation not permitted" in row["why"]
    assert "seccomp" in row["mend"]


@linux_only
def test_handlers_that_are_off() -> None:
    code, checks = examined("secalloc.disarm()")
    assert code == 1
    assert "SEGV off" in checks["handlers"]["what"]
    assert checks["handlers"]["mend"] == "secalloc.arm()"


def test_freed_memory_by_each_way() -> None:
    """It keeps its content; the library of `run` overwrites it; the allocators do by themselves."""

    def row(*before: str, **env: str) -> dict[str, str]:
        command = [*COMMAND[:2], *before, *COMMAND[2:], "--json"]
        end = subprocess.run(  # noqa: S603
            command, env={**os.environ, **env}, capture_output=True, check=False, text=True
        )
        checks: list[dict[str, str]] = json.loads(end.stdout)["checks"]
        return next(check for check in checks if check["name"] == "freed memory")

    assert row()["state"] == "note"
    by_run = row("-m", "secalloc", "run")
    assert by_run["state"] == "ok"
    assert ("C libraries'" in by_run["why"]) == (library() is not None)
    alone = row(**allocator(glibc=has_glibc()))
    assert (alone["state"], alone["why"]) == ("ok", "the allocator overwrites what is freed")


def test_its_looks_leave_nothing() -> None:
    check("""
        import secalloc._commands.doctor as doctor
        before = secalloc.status()
        fds = sorted(os.listdir("/dev/fd"))
        doctor.examine()
        assert secalloc.status()[:2] == before[:2] and sorted(os.listdir("/dev/fd")) == fds
        raises(ChildProcessError, lambda pid: os.waitpid(pid, 0), of=-1)
    """)


def typed(command: list[str], env: dict[str, str], width: int = 0) -> bytes:
    """What a command writes to a terminal of that many columns."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, width))
    with subprocess.Popen(  # noqa: S603
        command, stdout=theirs, env={**os.environ, "TERM": "xterm", **env}
    ) as child:
        os.close(theirs)
        out = b""
        try:
            while part := os.read(ours, 4096):
                out += part
        except OSError:  # Linux's end of a terminal
            pass
        child.wait(60)
    os.close(ours)
    return out


def coloured(command: list[str], env: dict[str, str]) -> bool:
    """Whether a command colours what it writes to a terminal."""
    out = typed(command, env)
    assert b"GUARD" in out
    return b"\033[" in out


@pytest.mark.parametrize("command", ["doctor"])
def test_colour_only_on_a_terminal(command: str) -> None:
    line = [*COMMAND[:-1], command]
    assert coloured(line, {"NO_COLOR": ""})
    assert not coloured(line, {"NO_COLOR": "1"})
    assert not coloured(line, {"TERM": "dumb"})


def test_what_is_no_terminal_has_no_colour() -> None:
    class Odd:
        def write(self, text: str) -> int:
            return len(text)

    odd: Any = Odd()
    assert not has_colour(odd)
    assert width_of(odd) == int(os.environ.get("COLUMNS", "80"))


def test_bad_usage() -> None:
    end = doctor("--loud")
    assert end.returncode == 2
    assert "usage: python -m secalloc" in end.stderr


OUTPUTS = [
    *[(line, flag) for line in ("doctor", "map", "run --help", "--help") for flag in ("", "1")],
    *[("doctor --json", ""), ("map --help", ""), ("demo", "")],
]


@pytest.mark.parametrize(("command", "unbuffered"), OUTPUTS)
@pytest.mark.parametrize("end", ["no reader", "/dev/full"])
def test_output_that_cannot_be_written(command: str, unbuffered: str, end: str) -> None:
    """Nothing for a reader that has enough; a line, and no traceback, where a disk is full."""
    if end == "no reader":
        ours, theirs = os.pipe()
        os.close(ours)
    elif not os.path.exists(end):
        pytest.skip(f"there is no {end}")
    else:
        theirs = os.open(end, os.O_WRONLY)
    with open(theirs, "wb") as output:
        done = subprocess.run(  # noqa: S603
            [*COMMAND[:-1], *command.split()],
            stdout=output,
            stderr=subprocess.PIPE,
            check=False,
            timeout=300,
            env={
                **os.environ,
                "PYTHONUNBUFFERED": unbuffered,
                "PYTHONWARNINGS": "ignore:secrets are held without",  # where there is no secretmem
            },
        )
    said = done.stderr.decode()
    if command.endswith("-help") and not command.startswith("run") and unbuffered:
        assert "Traceback" not in said  # argparse itself goes on
        return
    assert done.returncode == 1, said
    full = "python -m secalloc: standard output: No space left on device\n"
    assert said == ("" if end == "no reader" else full)
