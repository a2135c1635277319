#!/usr/bin/env bash
# Compiles core, extension and C tests, and links them, as every supported platform
# would, warnings being errors; for the core also a program that refers to every function
# of the public header. The tests for musl, which are linked statically, are run: on this
# machine, and for AArch64 by qemu-user where there is one, with pages of 4 and 64 KiB.
#
#   tests/checks/cross.sh PYTHON DIRECTORY      PYTHON has ziglang, and a GIL: its headers serve
set -euo pipefail
cd "$(dirname "$0")/../.."
python=$1 out=$2
include=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
# Not by `python -m ziglang`: to start Python takes a third of the time that compiling a file does.
zig=$("$python" -c 'import os, ziglang; print(os.path.join(os.path.dirname(ziglang.__file__), "zig"))')
jobs=$((($(getconf _NPROCESSORS_ONLN) + 1) / 2)) # as two platforms are built at once

mkdir -p "$out"
export ZIG_GLOBAL_CACHE_DIR=$out/cache ZIG_LOCAL_CACHE_DIR=$out/cache
strict=(-std=c11 -O2 -pthread -Wall -Wextra -Wshadow -Werror -Icsrc/core -Itests/core)

# Weak references would hide a missing function; a table of addresses does not.
{
    echo '#include "secalloc.h"'
    echo 'typedef void function(void);'
    echo 'extern function *const volatile all[];'
    echo 'function *const volatile all[] = {'
    sed -n 's/^[^ *\/#].*[ *]\(sa_[a-z0-9_]*\)(.*/    (function *)\1,/p' csrc/core/face/*.h | sort -u
    echo '};'
    echo 'int main(void) { return all[0] == 0; }'
} >"$out/api.c"
[ "$(grep -c '^    (function' "$out/api.c")" -ge 10 ] || {
    echo "found too few functions in csrc/core/face" >&2
    exit 1
}

compile() { # directory of objects, options of zig -- , sources
    local to=$1 options=()
    shift
    while [ "$1" != -- ]; do options+=("$1") && shift; done
    shift
    mkdir -p "$to"
    printf '%s\n' "$@" | xargs -P "$jobs" -I{} sh -c 'to=$1 source=$2; shift 2
        case $source in csrc/*) name=$(echo "$source" | tr / _) ;; *) name=$(basename "$source") ;; esac
        exec "$@" -c -o "$to/$name.o" "$source"' sh "$to" {} "${cc[@]}" "${options[@]}"
}

mapfile -t sources < <(find tests/core -name "test_*.c" ! -path "*/macos/*" | sort)

build() { # target, system's macro, the other system, options to link the extension
    local target=$1 macro=$2 other=$3 to=$out/$1 core=() tests=("${sources[@]}") file
    local cc=("$zig" cc -target "$target" "${strict[@]}" "$macro")
    for file in csrc/core/*/*.c csrc/core/os/*/*.c; do
        [[ $file = csrc/core/os/$other/* ]] || core+=("$file")
    done
    rm -rf "$to"
    compile "$to/core" -fPIC -fvisibility=hidden -Wconversion -- "${core[@]}"
    compile "$to/py" -fPIC -fvisibility=hidden -isystem "$include" -DPy_LIMITED_API=0x030B0000 -Icsrc/py -- csrc/py/*.c csrc/py/*/*.c
    compile "$to/tests" -Wconversion -- "$out/api.c" "${tests[@]}"
    if [ "$target" = aarch64-linux-musl ]; then # linked statically: ours is found before musl's
        compile "$to/core" -Wconversion -- tests/core/qemu/mincore.c
    fi
    printf '%s\n' "$to"/tests/*.o | xargs -P "$jobs" -I{} sh -c 'program=$1; shift
        exec "$@" -o "${program%.c.o}" "$program" "$0"/core/*.o' "$to" {} "${cc[@]}"
    if [[ $target != *musl ]]; then # which zig links statically
        "${cc[@]}" -shared "${@:4}" -o "$to/_core.abi3.so" "$to"/{core,py}/*.o
    fi
    if [[ $target = *-gnu* ]]; then # what `run` loads
        compile "$to/run" -fPIC -fvisibility=hidden -Wconversion -- csrc/run/*.c
        "${cc[@]}" -shared -Wl,-z,defs -o "$to/_run.so" "$to"/run/*.o -ldl
    fi
    echo "ok: $target, ${#core[@]} files of the core, $(find csrc/py -name '*.c' | wc -l) of the extension, ${#tests[@]} tests"
}

execute() { # target, command to run a program...
    local target=$1 program passed=0 said=$out/said-$BASHPID
    shift
    for program in $programs; do
        "$@" "$out/$target/tests/$program" >"$said" 2>&1 || { cat "$said"; echo "failed: $* $program" >&2 && exit 1; }
        passed=$((passed + 1))
    done
    echo "ok: $target${*:+, by $*}, $passed programs of tests run"
}

all_ended() { # what was started with &, and well
    local child failed=0
    for child in $(jobs -p); do wait "$child" || failed=1; done
    [ $failed = 0 ]
}

# Two at once: one waits while zig begins, links, or compiles the C library. That is most of the
# work for musl, which comes first, as it is begun for both at the same time then.
all_of() { # machine
    build "$1-linux-musl" -D_GNU_SOURCE macos
    build "$1-linux-gnu.2.28" -D_GNU_SOURCE macos
    build "$1-macos.11.0" -D_DARWIN_C_SOURCE linux -undefined dynamic_lookup
}
all_of x86_64 &
all_of aarch64 &
all_ended

programs=$(basename -s .c -a "${sources[@]}")
execute "$(uname -m)-linux-musl"

# qemu-user has no secretmem, no limits of its own, no seccomp, and is itself a program with
# threads and signals: of the others some tests fail by that, so their programs are left out.
programs='test_alt_stack test_arena test_canary test_census test_chacha test_ct test_harden test_marker test_registers'
if qemu=$(command -v qemu-aarch64-static || command -v qemu-aarch64); then
    for page in 4096 65536; do execute aarch64-linux-musl "$qemu" -p $page & done
    all_ended
else
    echo 'skipped: nothing is run for AArch64, there is no qemu-aarch64'
fi
