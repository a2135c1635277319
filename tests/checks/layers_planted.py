"""A small tree whose layers are sound, and what layers.py must find when it is planted there."""

SOUND = {
    "csrc/core/secalloc.h": "int sa_top(void);\n",
    "csrc/core/base/low.h": "int low(void);\nint low_again(void);\n",
    "csrc/core/base/low.c": '#include "base/low.h"\nint low(void) { return 1; }\n',
    "csrc/core/base/again.h": '#include "base/low.h"\n',
    "csrc/core/base/again.c": '#include "base/low.h"\nint low_again(void) { return low(); }\n',
    "csrc/core/slab/slab.c": '#include "base/low.h"\nint slab(void) { return low(); }\n',
    "csrc/core/fatal/fatal.h": "int fatal(void);\n",
    "csrc/core/fatal/fatal.c": """
        #include "base/low.h"
        #include "fatal/fatal.h"
        #include "secalloc.h"
        int fatal(void) { return low(); }
        int sa_top(void) { return fatal(); }
        """,
    "csrc/run/own.h": "int own(void);\n",
    "csrc/run/own.c": '#include "own.h"\nint own(void) { return 0; }\n',
    "csrc/py/objects/one.c": '#include "secalloc.h"\nint one(void) { return sa_top(); }\n',
    "csrc/py/types/kind.h": "int kind(void);\n",
    "csrc/py/types/kind.c": '#include "types/kind.h"\nint kind(void) { return one(); }\n',
    "csrc/py/module.c": '#include "types/kind.h"\nint start(void) { return kind(); }\n',
    "secalloc/__init__.py": "import secalloc._core\n_LAZY = {'channel': (), 'map': ()}\n",
    "secalloc/_core.pyi": "class Arena: ...\n",
    "secalloc/channel.py": "from secalloc import _core\nfrom secalloc._channel import child\n",
    "secalloc/residue.py": "from secalloc._core import _find\n",
    "secalloc/_channel/__init__.py": "",
    "secalloc/_channel/child.py": "from secalloc._core import Arena\n",
    "secalloc/_channel/other.py": "from secalloc._channel import child\n",
    "secalloc/map.py": "import secalloc\n",
}

# What is appended to a file, and the beginning of what must be said then.
LOW, SLAB, ONE = "csrc/core/base/low.c", "csrc/core/slab/slab.c", "csrc/py/objects/one.c"
CHILD, FACE = "secalloc/_channel/child.py", "secalloc/__init__.py"
PLANTED = (
    (LOW, '#include "fatal/fatal.h"', f"upward: {LOW} uses csrc/core/fatal/fatal.h (include)"),
    (
        LOW,
        "int up(void) { return fatal(); }",
        f"upward: {LOW} uses csrc/core/fatal/fatal.c (fatal)",
    ),
    (
        LOW,
        "int up(void) { return sa_top(); }",
        f"upward: {LOW} uses csrc/core/fatal/fatal.c (sa_top)",
    ),
    (SLAB, "int aside(void) { return fatal(); }", f"upward: {SLAB} uses csrc/core/fatal/fatal.c"),
    (
        LOW,
        "int round(void) { return low_again(); }",
        f"circle of objects: csrc/core/base/again.c, {LOW}",
    ),
    (
        LOW,
        '#if 0\n#include "base/gone.h"\n#endif',
        f"{LOW} includes base/gone.h, which is not there",
    ),
    ("csrc/core/base/left_out.c", "int x;", "no object was given: csrc/core/base/left_out.c"),
    ("csrc/core/loose.c", "int loose;", "in no room: csrc/core/loose.c"),
    (
        LOW,
        '#include "types/kind.h"',
        f"not its own to include: {LOW} includes csrc/py/types/kind.h",
    ),
    (
        "csrc/core/base/low.h",
        '#if 0\n#include "base/again.h"\n#endif',
        "circle of includes: csrc/core/base/again.h, csrc/core/base/low.h",
    ),
    ("csrc/run/own.c", '#include "secalloc.h"', "not its own to include: csrc/run/own.c"),
    (LOW, "#include <sys/mman.h>", f"not for the core: {LOW} includes <sys/mman.h>"),
    (LOW, "#if 0\n#include <Python.h>\n#endif", f"not for the core: {LOW} includes <Python.h>"),
    (ONE, '#include "types/kind.h"', f"upward: {ONE} uses csrc/py/types/kind.h (include)"),
    (ONE, "int up(void) { return kind(); }", f"upward: {ONE} uses csrc/py/types/kind.c (kind)"),
    (ONE, '#include "fatal/fatal.h"', f"not its own to include: {ONE} includes csrc/core/fatal/"),
    (CHILD, "import secalloc", "upward: _channel.child uses __init__ (imported)"),
    (CHILD, "from secalloc import Arena", "upward: _channel.child uses __init__ (imported)"),
    (CHILD, "def f(): from secalloc.channel import g", "upward: _channel.child uses channel"),
    (CHILD, "if TYPE_CHECKING: import secalloc.channel", "upward: _channel.child uses channel"),
    (
        CHILD,
        "from secalloc._channel.other import x",
        "circle of imports: _channel.child, _channel.other",
    ),
    (
        "secalloc/residue.py",
        "import secalloc._channel.child",
        "upward: residue uses _channel.child",
    ),
    ("secalloc/_core.pyi", "from secalloc.channel import Event", "upward: _core uses channel"),
    ("secalloc/loose.py", "", "in no room: secalloc/loose"),
    (FACE, "from secalloc import map", "upward: __init__ uses map (imported)"),
    (FACE, "_LAZY = {}", "excused, and not done any more: ('__init__', 'map')"),
)
