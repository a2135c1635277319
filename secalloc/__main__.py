"""The command line: ``python -m secalloc``, and ``secalloc``, the script that is installed."""

import argparse
import errno
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial

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
    from secalloc._commands.usage import parser_of  # noqa: PLC0415 - after script() put its path off

    parser = parser_of(prog)
    if not arguments:
        parser.print_help(sys.stderr)
        return 2
    try:
        options = parser.parse_args(arguments)
    except SystemExit as end:  # it printed its help, or what is wrong
        status = int(end.code or 0)
        return _heard(lambda: status, prog)
    command = _command(options, by_script=prog == _SCRIPT)
    if getattr(options, "script", None) is not None:  # whose own errors are its own
        return command()
    return _heard(command, prog)


def _command(options: argparse.Namespace, *, by_script: bool) -> Callable[[], int]:
    """What runs the command that was asked for; only its own module is imported."""
    if options.command == "doctor":
        from secalloc._commands.doctor import main as doctor  # noqa: PLC0415

        return partial(doctor, as_json=options.json, verbose=options.verbose)
    if options.command == "map":
        from secalloc.map import main as draw  # noqa: PLC0415

        drawn = partial(draw, options.script, options.args, by_script=by_script)
        return partial(drawn, as_json=options.json, verbose=options.verbose)
    if options.command == "residue":
        from secalloc._commands.residue import main as residue  # noqa: PLC0415

        searched = partial(residue, options.script, options.args, by_script=by_script)
        return partial(searched, as_json=options.json)
    if options.command == "demo":
        from secalloc._commands.demo import main as demo  # noqa: PLC0415

        return partial(demo, as_json=options.json)
    raise AssertionError(f"{options.command} has a parser and no branch")


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
