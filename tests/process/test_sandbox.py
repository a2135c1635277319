"""Filters that end the process for a system call that the library can do without."""

import re

import pytest
from support import TESTS, dies, run, x86_or_arm_linux

pytestmark = x86_or_arm_linux

OPTIONAL = ("memfd_secret", "mlock2", "pwritev2", "mincore", "capget", "process_vm_readv")
SYSTEM_SERVICE_LACKS = ("memfd_secret", "mincore")
"""As systemd 252 lists what SystemCallFilter=@system-service allows: of all that we call."""

EVERYTHING = """
import subprocess
import secalloc._commands.doctor, secalloc.residue
warnings.simplefilter("ignore")
key, large = secret(), secret(200_000)
key.rotate(); large.rotate()
assert bytes(key) == SECRET and bytes(large) == bytes(secret(200_000))
key.seal()
with key.open("r") as view: assert bytes(view) == SECRET
with secalloc.Pool() as pool:
    assert len(pool.random(32)) == 32
    pool.seal()
secalloc.residue.find(secalloc.random(32))
channel = secalloc.LockdownChannel()
code = "import secalloc; print(len(secalloc.adopt('key')), flush=True); secalloc.lockdown()"
child = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True,
    **channel.popen_args(secrets={"key": large}))
assert (child.returncode, child.stdout) == (0, "200000\\n"), child
event = channel.wait(20)
assert event and event.kind.name == "LOCKDOWN", event
secalloc.harden()
print(secalloc._commands.doctor.main(as_json=True))
large.close()
secalloc.lockdown()
key.close()
key = secret()
fault("segv")
"""


@pytest.mark.parametrize("name", [None, *OPTIONAL])
def test_lives_without(name: str | None) -> None:
    """Through all of it, down to the wipe and the marker of a crash."""
    filters = f"deny({name!r}, kill=True)\n" if name else ""
    end = dies(filters + EVERYTHING, 11, b"LF")
    secretmem = re.search(r'"SECRETMEM",\s+"state": "(\w+)"', end.out)
    assert secretmem, end.out
    if name == "memfd_secret":
        assert secretmem[1] == "missing"


def test_as_systemd_has_it() -> None:
    """And doctor names the setting that mends it."""
    filters = "".join(f"deny({name!r}, kill=True)\n" for name in SYSTEM_SERVICE_LACKS)
    end = dies(filters + EVERYTHING, 11, b"LF")
    assert "in a systemd unit SystemCallFilter=@system-service memfd_secret" in end.out


def test_without_a_child_to_ask() -> None:
    """Where clone itself ends the process there is the way that the docs name."""
    code = """
    deny("clone", kill=True)
    {opt_out}
    warnings.simplefilter("ignore")
    key = secret(); key.rotate(); large = secret(200_000)
    assert bytes(key) == SECRET and Protection.SECRETMEM in missing(key)
    large.close()
    fault("segv")
    """
    dies(code.format(opt_out="secalloc.configure(secretmem=False)"), 11)
    assert run(code.format(opt_out="")).code == -31  # the control: SIGSYS


def test_the_docs_list_what_is_called() -> None:
    """As the C test that tries each call in turn has it."""
    source = (TESTS / "core" / "os" / "test_sandbox.c").read_text()
    docs = (TESTS.parent / "docs" / "platforms.md").read_text()
    listed = docs.partition("## Sandboxes")[2].partition("\n## ")[0]
    called = re.findall(r"CALL\((\w+)\)", source)
    assert len(called) > 30
    for name in {*called, *OPTIONAL, "clone", "wait4"} - {"name"}:
        assert f"`{name}`" in listed, name
