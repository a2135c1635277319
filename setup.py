"""The extension and its ABI matrix; everything else is in pyproject.toml."""

import sys
import sysconfig
from glob import glob

from setuptools import Extension, setup

OTHER = {"linux": "macos", "darwin": "linux"}.get(sys.platform)
CPYTHON = sys.implementation.name == "cpython" and sys.version_info >= (3, 11)
if OTHER is None or not CPYTHON or sys.maxsize < 2**32:
    sys.exit("secalloc needs CPython 3.11 or later on 64-bit Linux or macOS.")

# One wheel for all Pythons that have the stable ABI. Free-threaded ones do not before
# 3.15, where the macro is an error.
abi3 = not sysconfig.get_config_var("Py_GIL_DISABLED")

setup(
    ext_modules=[
        Extension(
            "secalloc._core",
            sources=sorted({*glob("csrc/*/*.c")} - {*glob(f"csrc/core/os_*{OTHER}.c")}),
            depends=sorted(glob("csrc/*/*.[ch]")),
            include_dirs=["csrc/core"],
            define_macros=[("_DARWIN_C_SOURCE" if OTHER == "linux" else "_GNU_SOURCE", "1")]
            + ([("Py_LIMITED_API", "0x030B0000")] if abi3 else []),
            py_limited_api=abi3,
            extra_compile_args=["-std=c11", "-O3", "-fvisibility=hidden"],
            extra_link_args=["-Wl,-z,relro", "-Wl,-z,now"] if sys.platform == "linux" else [],
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if abi3 else {},
)
