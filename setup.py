"""What is compiled, and for which ABI; everything else is in pyproject.toml."""

import os
import re
import sys
import sysconfig
from glob import glob

OTHER = {"linux": "macos", "darwin": "linux"}.get(sys.platform)
CPYTHON = sys.implementation.name == "cpython" and sys.version_info >= (3, 11)
if OTHER is None or not CPYTHON or sys.maxsize < 2**32:
    sys.exit("secalloc needs CPython 3.11 or later on 64-bit Linux or macOS.")

import tempfile  # noqa: E402 (first of all, whether it can work here)

from setuptools import Extension, setup  # noqa: E402
from setuptools.command.build_ext import build_ext  # noqa: E402
from setuptools.errors import CompileError, LinkError  # noqa: E402

# One wheel for all Pythons that have the stable ABI. Free-threaded ones got theirs with
# 3.15, which has it in common with the other build; before, the macro is an error there.
if not sysconfig.get_config_var("Py_GIL_DISABLED"):
    stable, macros = "cp311", [("Py_LIMITED_API", "0x030B0000")]
elif sys.version_info >= (3, 15):
    stable, macros = "cp315", [("Py_TARGET_ABI3T", "0x030F0000")]
else:
    stable, macros = None, []


SYSTEM_MACRO = "_DARWIN_C_SOURCE" if OTHER == "linux" else "_GNU_SOURCE"
# No debugging information, which names the directory that it was built in.
FLAGS = ["-std=c11", "-O3", "-g0", "-fvisibility=hidden", "-Wfatal-errors"]
# Before glibc 2.34 dlsym is in a library of its own.
LINKED = ["-Wl,-z,relro", "-Wl,-z,now", "-ldl"] if sys.platform == "linux" else []
# Calls between files cost: inlined across them, a pooled arena takes a fifth less.
WHOLE = ["-flto"]


def has_glibc():
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (ValueError, OSError):
        return False


class Build(build_ext):
    """By the name that every Python of the tag looks for: before 3.14 none has a platform.

    Beside the extension it builds what `python -m secalloc run` loads before the program: a
    plain library, for glibc's heap and the allocator of Pythons with a GIL.
    """

    preloaded = stable == "cp311" and has_glibc()

    def _can_link_whole(self):
        """Whether compiler and linker have it, and nobody wants its functions apart."""
        if re.search("-fno-lto|-fsanitize", os.environ.get("CFLAGS", "")):
            return False
        with tempfile.TemporaryDirectory() as folder:
            source = os.path.join(folder, "probe.c")
            with open(source, "w") as file:
                file.write("int probe(void) { return 0; }\n")
            try:
                objects = self.compiler.compile([source], folder, extra_postargs=WHOLE)
                self.compiler.link_shared_object(
                    objects, os.path.join(folder, "probe.so"), extra_postargs=WHOLE
                )
            except (CompileError, LinkError):
                return False
        return True

    def build_extensions(self):
        if self._can_link_whole():
            for extension in self.extensions:
                extension.extra_compile_args += WHOLE
                extension.extra_link_args += [*WHOLE, "-O3"]
        super().build_extensions()

    def get_ext_filename(self, fullname):
        return re.sub(r"\.abi3-[^.]*\.so$", ".abi3.so", super().get_ext_filename(fullname))

    def _preloaded(self):
        return os.path.join(os.path.dirname(self.get_ext_fullpath("secalloc._core")), "_run.so")

    def run(self):
        super().run()
        if self.preloaded:
            objects = self.compiler.compile(
                sorted(glob("csrc/run/*.c")),
                self.build_temp,
                [(SYSTEM_MACRO, "1")],
                include_dirs=["csrc/core"],
                depends=[*glob("csrc/run/*.h"), "csrc/core/face/lend.h"],
                extra_postargs=FLAGS,
            )
            # Any program's symbols may be asked for, none taken for granted.
            alone = ["-Wl,-z,defs", *LINKED]
            self.compiler.link_shared_object(objects, self._preloaded(), extra_postargs=alone)

    def get_outputs(self):
        return [*super().get_outputs(), *([self._preloaded()] if self.preloaded else [])]


setup(
    ext_modules=[
        Extension(
            "secalloc._core",
            sources=sorted(
                {*glob("csrc/core/**/*.c", recursive=True), *glob("csrc/py/**/*.c", recursive=True)}
                - {*glob(f"csrc/core/os/{OTHER}/*.c")}
            ),
            depends=sorted(glob("csrc/**/*.[ch]", recursive=True)),
            include_dirs=["csrc/core", "csrc/py"],
            define_macros=[(SYSTEM_MACRO, "1"), *macros],
            py_limited_api=bool(stable),
            extra_compile_args=list(FLAGS),
            extra_link_args=list(LINKED),
        )
    ],
    cmdclass={"build_ext": Build},
    options={"bdist_wheel": {"py_limited_api": stable}} if stable else {},
)
