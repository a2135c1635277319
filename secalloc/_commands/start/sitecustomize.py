"""Runs before a program that `python -m secalloc run` starts.

That puts this directory on PYTHONPATH, so that the interpreter finds this file where it
looks for sitecustomize, which gets its turn afterwards.
"""

import os
import sys


def _begin() -> None:
    here = os.path.dirname(os.path.abspath(__file__))
    try:
        from secalloc._commands import run  # noqa: PLC0415
    except ImportError:  # its parent found it in a directory that is not on this path
        sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(here))))
        try:
            from secalloc._commands import run  # noqa: PLC0415
        finally:
            sys.path.pop()
    run.begin(here)


if __name__ == "sitecustomize":
    try:
        _begin()
    except BaseException:  # the program must not run without it
        sys.stderr.write(f"secalloc run: the program was not started: {sys.exc_info()[1]!r}\n")
        sys.stderr.flush()
        os._exit(126)
    del sys.modules["sitecustomize"]
    __import__("sitecustomize")  # the machine's own; if it has none, site knows the error
