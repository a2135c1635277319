"""The command line of all commands but what `run` runs: options and help."""

import argparse

from secalloc import __version__
from secalloc._commands.answer import Help

_STATUS = "Exit status: 0 where all is well, 1 where {}, 2 for bad usage."
_OF_SCRIPT = "Exit status with a script: the script's{}, and 2 where it cannot be read."


def parser_of(prog: str) -> argparse.ArgumentParser:
    """What is to be said on a command line, and its help."""
    parser = argparse.ArgumentParser(
        prog=prog,
        formatter_class=Help,
        description="Guarded, locked memory for secrets, wiped when the process crashes.",
        epilog=_STATUS.format("something is missing, failed or was found")
        + "\n\nThere is colour on a terminal alone, never where NO_COLOR is set, and always where "
        "FORCE_COLOR is.",
    )
    parser.add_argument("--version", action="version", version=f"secalloc {__version__}")
    commands = parser.add_subparsers(
        dest="command", required=True, title="commands", metavar="command"
    )

    def command(name: str, what: str, more: str, status: str) -> argparse.ArgumentParser:
        """One that prints JSON if it is asked to."""
        made = commands.add_parser(
            name,
            help=what,
            formatter_class=Help,
            description=f"{what[0].upper()}{what[1:]}.\n\n{more}",
            epilog=status,
        )
        made.add_argument("--json", action="store_true", help="print JSON, for programs")
        return made

    def of_a_script(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("script", nargs="?", help="a Python file")
        parser.add_argument("args", nargs=argparse.REMAINDER, help="what it finds in sys.argv")

    doctor = command(
        "doctor",
        "tell what this machine grants, why not, and what mends it",
        "Looks at what arenas get on this machine, and at what else would give a secret away.",
        _STATUS.format("something is missing"),
    )
    doctor.add_argument(
        "-v", "--verbose", action="store_true", help="tell why, of what is well too"
    )
    drawing = command(
        "map",
        "draw arenas, with guards, states and protections",
        "Draws an example. With a script: runs it, and draws on standard error the arenas that "
        "live when it ends. A program draws its own, at any moment, with secalloc.map.draw().",
        _OF_SCRIPT.format(""),
    )
    drawing.add_argument(
        "-v", "--verbose", action="store_true", help="draw in full what has all protections too"
    )
    of_a_script(drawing)
    of_a_script(
        command(
            "residue",
            "list the copies of secrets that a program left in its memory",
            "Searches for the copies of an example. With a script: runs it, searches the process "
            "when it ends for copies of each arena that lives then, and lists them on standard "
            "error. A program searches at any moment with secalloc.residue.find().",
            _OF_SCRIPT.format(", 1 where that is 0 and a copy was found"),
        )
    )
    command(
        "demo",
        "crash a process that holds a key, and search its core file",
        "A child process keeps a key in an arena and runs off its end. The marker, the exit "
        "signal and what the core file holds are shown.",
        _STATUS.format("the key was found or the search proves nothing"),
    )
    commands.add_parser("run", help="run a program hardened, its freed memory overwritten")
    return parser
