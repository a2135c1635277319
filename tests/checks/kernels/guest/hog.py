"""Holds more and more memory until there is none left to get, and lets it go again."""

import mmap
import sys

held: list[mmap.mmap] = []
while len(held) < int(sys.argv[1]):
    piece = mmap.mmap(-1, 1 << 20)
    for at in range(0, len(piece), 4096):
        piece[at] = 1
    held.append(piece)
    with open("/proc/meminfo") as lines:
        if int(next(line for line in lines if "MemAvailable" in line).split()[1]) < 16 << 10:
            break
