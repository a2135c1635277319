"""The command line: ``python -m secalloc``, and ``secalloc``, the script that is installed."""

import argparse
import errno
import os
import sys
from collections.abc import Callable, Sequence

from secalloc import __version__

_MODULE, _SCRIPT = "python -m secalloc", "secalloc"
_UNWRITABLE = (errno.EPIPE, errno.ENOSPC, errno.EIO, errno.EFBIG, errno.EDQUOT)


def script() -> int:
    """What the installed `secalloc` calls: `main`, without the script's own directory.

    The interpreter puts it in front of `sys.path`, where modules lying about would pass for
    the standard library's; it may be the current directory too. With -P it does not.
    """
    if not sys.flags.safe_path and sys.path[:1] == [os.path.dirname(os.path.realpath(sys.argv[0]))]:
        del sys.path[0]
    return main(prog=_SCRIPT)


def main(argv: Sequence[str] | None = None, *, prog: str = _MODULE) -> int:
    """Run one command; the exit status: 0 all well, 1 it failed, 2 bad usage.

    `prog` is what it was started as.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["run"]:  # what follows is the program's, options and all
        from secalloc._commands.run import main as run  # noqa: PLC0415 - only when it is wanted

        return _heard(lambda: run(arguments[1:], by_script=prog == _SCRIPT), prog)
    try:
        options = _parser(prog).parse_args(arguments)
    except SystemExit as end:  # it printed its help, or what is wrong
        status = int(end.code or 0)
        return _heard(lambda: status, prog)
    if options.command == "doctor":
        from secalloc._commands.doctor import main as doctor_main  # noqa: PLC0415

        return _heard(lambda: doctor_main(as_json=options.json, verbose=options.verbose), prog)
    if options.command == "map":
        from secalloc.map import main as map_main  # noqa: PLC0415

        if options.script is not None:  # whose own errors are its own
            return map_main(
                options.script,
                options.args,
                by_script=prog == _SCRIPT,
                verbose=options.verbose,
            )
        return _heard(lambda: map_main(verbose=options.verbose), prog)
    if options.command == "demo":
        from secalloc._commands.demo import main as demo  # noqa: PLC0415

        return _heard(demo, prog)
    raise AssertionError(f"{options.command} has a parser and no branch")


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Guarded, locked memory for secrets, wiped when the process crashes.",
    )
    parser.add_argument("--version", action="version", version=f"secalloc {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, title="commands")
    commands.add_parser(
        "demo",
        help="crash a process that holds a key, and search its core file",
        description="A child process keeps a key in an arena and runs off its end; "
        "the marker, the exit signal and what the core file holds are shown. "
        "Exit status 1 if the key is found, or if the search proves nothing.",
    )
    doctor = commands.add_parser(
        "doctor",
        help="what this machine grants: each protection, why not, and what mends it",
        description="Looks at what arenas get on this machine, and at what else would give a "
        "secret away. Exit status 1 if something is missing.",
    )
    doctor.add_argument("--json", action="store_true", help="all of it, for programs")
    doctor.add_argument(
        "-v", "--verbose", action="store_true", help="why, of what is well too, and what mends it"
    )
    drawing = commands.add_parser(
        "map",
        help="draw arenas, with guards, states and protections",
        description="Draws an example. With a script: runs it, and draws on standard error "
        "the arenas that live when it ends. A program draws its own, at any moment, with "
        "secalloc.map.draw().",
    )
    drawing.add_argument(
        "-v", "--verbose", action="store_true", help="in full, protections that are there too"
    )
    drawing.add_argument("script", nargs="?", help="a Python file")
    drawing.add_argument("args", nargs=argparse.REMAINDER, help="what it finds in sys.argv")
    commands.add_parser("run", help="run a program hardened, its freed memory overwritten")
    return parser


def _heard(command: Callable[[], int], prog: str) -> int:
    """Its exit status; 1 where its output cannot be written. Nothing is said of a reader who
    had enough, as `head` has."""
    try:
        try:
            return command()
        finally:
            print(end="", flush=True)  # nowhere, where standard output is closed
    except OSError as error:
        if error.errno not in _UNWRITABLE or error.filename is not None:
            raise
        # What is still buffered would be written at the end, and complained of.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno != errno.EPIPE and sys.stderr is not None:
            print(f"{prog}: standard output: {error.strerror}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
