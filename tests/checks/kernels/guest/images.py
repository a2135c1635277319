"""What of a secret gets to a disk: a guest makes it, and its host searches the disk.

images.py swap SECRETMEM         make memory scarce, so that the control is swapped out
images.py hibernate SECRETMEM    hibernate
images.py search IMAGE CONSOLE   whether the disk has a page of the control, and of the secret

What the guest tells are digests of whole pages, so that no copy of one comes to be.
"""

import hashlib
import mmap
import os
import sys
import time
from pathlib import Path

PAGE = os.sysconf("SC_PAGESIZE")


def search(image: Path, console: Path) -> str:
    lines = console.read_text(errors="replace").splitlines()
    told = [line.split() for line in lines if line.startswith("DIGEST ")]
    wanted = {digest: name for _, name, digest in told}
    seen = set()
    with image.open("rb") as disk:
        while page := disk.read(4096):
            seen.add(wanted.get(hashlib.sha256(page).hexdigest()))
    return ", ".join(f"{n} {'yes' if n in seen else 'no'}" for n in ("control", "secret"))


def make_scarce() -> None:
    """Touch half as much again as the machine has."""
    total = os.sysconf("SC_PHYS_PAGES") * PAGE
    hog = mmap.mmap(-1, total * 3 // 2)
    for at in range(0, len(hog), PAGE):
        hog[at : at + 8] = os.urandom(8)
    hog.close()


def main() -> None:
    import secalloc  # noqa: PLC0415 (which the host need not have)

    secalloc.configure(secretmem=sys.argv[2] == "True")
    control = mmap.mmap(-1, 16 * PAGE)
    os.readv(os.open("/dev/urandom", os.O_RDONLY), [control])
    secret = secalloc.random(PAGE)
    print(f"{secret.protection}, {sys.argv[2]}")
    print("DIGEST control", hashlib.sha256(memoryview(control)[:PAGE]).hexdigest())
    print("DIGEST secret", hashlib.sha256(secret).hexdigest(), flush=True)
    if sys.argv[1] == "swap":
        make_scarce()
        os.sync()
    else:
        try:
            Path("/sys/power/disk").write_text("shutdown")
            Path("/sys/power/state").write_text("disk")
        except OSError as error:
            print(f"hibernation: {error}", flush=True)
        time.sleep(1)
    print("still", secret.protection, flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "search":
        print(search(Path(sys.argv[2]), Path(sys.argv[3])))
    else:
        main()
