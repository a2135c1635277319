"""Lockdowns by what logind says: on a private bus, against python-dbusmock's logind."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import HANGS, run

import secalloc

MOCK = "/usr/bin/python3"
"""Debian's, with python3-dbusmock."""
CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path={path}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/>
<allow own="*"/></policy></busconfig>"""


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[dict[str, Any]]:
    pytest.importorskip("dbus_fast", reason="dbus-fast is not installed")
    daemon = shutil.which("dbus-daemon")
    if daemon is None:
        pytest.skip("needs dbus-daemon")
    asked = [MOCK, "-c", "import dbusmock"]
    if not Path(MOCK).exists() or subprocess.run(asked, check=False, stderr=-3).returncode:  # noqa: S603
        pytest.skip("needs python3-dbusmock")
    (tmp_path / "bus.conf").write_text(CONFIG.format(path=tmp_path / "bus"))
    env = {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={tmp_path / 'bus'}"}
    env.pop("XDG_SESSION_ID", None)
    serves = subprocess.Popen([daemon, f"--config-file={tmp_path / 'bus.conf'}", "--nofork"])  # noqa: S603
    until((tmp_path / "bus").exists)
    mocks = subprocess.Popen(  # noqa: S603
        [MOCK, "-m", "dbusmock", "--system", "--template", "logind"], env=env, stdout=-3
    )
    try:
        until(lambda: call(env, "AddSession", "'c1', 'seat0', uint32 500, 'joe', true") == 0)
        yield {"env": env, "daemon": serves}
    finally:
        for process in (mocks, serves):
            process.kill()
            process.wait()


def until(done: Any) -> None:
    end = time.monotonic() + HANGS
    while not done():
        assert time.monotonic() < end
        time.sleep(0.02)


def call(env: dict[str, str], method: str, args: str, *, path: str = "") -> int:
    """Call or emit by Debian's python3-dbus, which dbusmock needs itself."""
    code = f"""
import dbus
bus = dbus.SystemBus()
o = bus.get_object("org.freedesktop.login1", "/org/freedesktop/login1{path}")
i = dbus.Interface(o, "org.freedesktop.DBus.Mock")
uint32, true, false = dbus.UInt32, True, False
"""
    if method == "AddSession":
        code += "i.AddSession('c1', 'seat0', uint32(500), 'joe', True)"
    else:
        code += f"i.EmitSignal({args})"
    return subprocess.run([MOCK, "-c", code], env=env, check=False, stderr=-3).returncode  # noqa: S603


MANAGER = "'org.freedesktop.login1.Manager'"
SIGNALS = {
    "suspend": (f"{MANAGER}, 'PrepareForSleep', 'b', [True]", ""),
    "shutdown": (f"{MANAGER}, 'PrepareForShutdown', 'b', [True]", ""),
    "logout": (
        f"{MANAGER}, 'SessionRemoved', 'so', ['c1', '/org/freedesktop/login1/session/c1']",
        "",
    ),
    "screen-lock": ("'org.freedesktop.login1.Session', 'Lock', '', []", "/session/c1"),
}
CHILD = """
import sys
def told(reason):
    print(reason, a.wiped, flush=True)
    return {answer}
a = secret()
with secalloc.lock_on({reasons}callback=told) as lock:
    print("ready", lock._inhibitor >= 0, flush=True)
    sys.stdin.readline()
print("end", a.wiped, flush=True)
"""


def start(bus: dict[str, Any], reasons: str = "", answer: object = None) -> Any:
    from support import TESTS  # noqa: PLC0415

    code = "from crash import *\n" + CHILD.format(reasons=reasons, answer=answer)
    child = subprocess.Popen(  # noqa: S603
        [sys.executable, "-P", "-W", "ignore:secrets are held without", "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**bus["env"], "PYTHONPATH": str(TESTS), "XDG_SESSION_ID": "c1"},
    )
    assert child.stdout is not None
    line = child.stdout.readline()
    assert line.startswith("ready"), line + child.communicate()[1]
    return child, line.split()[1] == "True"


def test_each_reason(bus: dict[str, Any]) -> None:
    """Wiped by the time that it is told, with an inhibitor, and no marker on standard error."""
    for reason, (signal, path) in SIGNALS.items():
        child, inhibits = start(bus, f"{reason!r}, ")
        assert inhibits is (reason in ("suspend", "shutdown"))
        for other, (unasked, at) in SIGNALS.items():
            if other != reason:
                assert call(bus["env"], "EmitSignal", unasked, path=at) == 0
        assert call(bus["env"], "EmitSignal", signal, path=path) == 0
        assert child.stdout.readline() == f"{reason} True\n"
        out, err = child.communicate("\n")
        assert (out, err) == ("end True\n", "")


@pytest.mark.parametrize("answer", [None, False])
def test_a_bus_that_is_lost(bus: dict[str, Any], answer: object) -> None:
    child, inhibits = start(bus, answer=answer)
    assert inhibits
    bus["daemon"].kill()
    assert child.stdout.readline() == "bus-lost False\n"
    out, err = child.communicate("\n")
    assert (out, err) == (f"end {answer is None}\n", "")


def test_what_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="reasons are suspend"):
        secalloc.lock_on("lunch")
    wrong: Any = 5
    with pytest.raises(TypeError, match="callback is callable"):
        secalloc.lock_on(callback=wrong)
    if sys.platform != "linux":
        with pytest.raises(NotImplementedError, match="logind"):
            secalloc.lock_on()
        return
    code = """
    import sys
    missing = len(sys.argv) > 5
    try: secalloc.lock_on()
    except ModuleNotFoundError as error: assert "secalloc[desktop]" in str(error), error
    except OSError as error: assert "logind" in str(error), error
    else: raise AssertionError
    sys.modules["dbus_fast"] = None
    raises(ModuleNotFoundError, lambda f: f(), of=secalloc.lock_on)
    """
    end = run(code, env={"DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={tmp_path / 'none'}"})
    assert end.fate == (0, b""), end.err
