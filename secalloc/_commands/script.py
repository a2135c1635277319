"""Runs a script as the main program, for a command that looks at the process when it ends."""

import os
import sys
from collections.abc import Callable, Sequence
from types import CodeType, ModuleType


def run(
    script: str,
    arguments: Sequence[str],
    at_end: Callable[[], int],
    *,
    command: str,
    by_script: bool,
) -> int:
    """Run it, and call `at_end` when it ends, whose result is the exit status of a good end.

    What the script dies of is told before that, as it would be told without us, and then
    raised. 2: it cannot be read or compiled. `command` is who asks; `by_script`: the
    installed `secalloc` was started, rather than ``-m secalloc``.
    """
    try:
        with open(script, "rb") as file:
            code = compile(file.read(), script, "exec", dont_inherit=True)
    except (OSError, SyntaxError, ValueError) as error:  # ValueError: a zero byte, until 3.12
        prog = "secalloc" if by_script else "python -m secalloc"
        print(f"{prog} {command}: {error}", file=sys.stderr)
        return 2
    main = ModuleType("__main__")
    main.__file__ = script
    sys.modules["__main__"] = main
    sys.argv = [script, *arguments]
    if not sys.flags.safe_path:  # in the place of what -m put there; the script took its own off
        sys.path[: 0 if by_script else 1] = [os.path.dirname(os.path.realpath(script))]
    return _to_its_end(code, main, at_end)


def _to_its_end(code: CodeType, main: ModuleType, at_end: Callable[[], int]) -> int:
    """Execute the code in that module, then look."""
    try:
        exec(code, vars(main))  # noqa: S102 - it is what the caller wants to be run
    except SystemExit as end:
        status = end.code
        if status is not None and not isinstance(status, int):
            print(status, end="\n\n", file=sys.stderr)
            status = 1
    except BaseException as error:
        own = error.__traceback__ and error.__traceback__.tb_next  # without this frame
        sys.excepthook(type(error), error.with_traceback(own), own)
        print(file=sys.stderr)
        sys.excepthook = lambda *_: None  # it is told; the exit status is the interpreter's
        at_end()
        raise
    else:
        status = 0
    seen = at_end()
    return status or seen
