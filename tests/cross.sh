#!/usr/bin/env bash
# Compiles the core and links it, as every supported platform would, warnings
# being errors: with a program that refers to every function of the public
# header, and with each of the C tests. Those for this machine's musl, which are
# linked statically, are run too; the others are not.
#
#   tests/cross.sh PYTHON DIRECTORY
set -euo pipefail
cd "$(dirname "$0")/.."
python=$1 out=$2
zig_version=0.17.1 # any recent one knows these targets

mkdir -p "$out"
export ZIG_GLOBAL_CACHE_DIR=$out/cache ZIG_LOCAL_CACHE_DIR=$out/cache
if [ ! -e "$out/venv/$zig_version" ]; then
    rm -rf "$out/venv"
    "$python" -m venv "$out/venv"
    "$out/venv/bin/pip" --disable-pip-version-check install --quiet "ziglang==$zig_version"
    touch "$out/venv/$zig_version"
fi

# Weak references would hide a missing function; a table of addresses does not.
{
    echo '#include "secalloc.h"'
    echo 'typedef void function(void);'
    echo 'extern function *const volatile all[];'
    echo 'function *const volatile all[] = {'
    sed -n 's/^[^ *\/#].*[ *]\(sa_[a-z0-9_]*\)(.*/    (function *)\1,/p' csrc/core/secalloc.h | sort -u
    echo '};'
    echo 'int main(void) { return all[0] == 0; }'
} >"$out/api.c"
[ "$(grep -c '^    (function' "$out/api.c")" -ge 10 ] || {
    echo "found too few functions in secalloc.h" >&2
    exit 1
}

build() { # target, system's macro, the other system
    local target=$1 macro=$2 other=$3 sources=() program ran=
    for file in csrc/core/*.c; do
        [[ $file = csrc/core/os_*"$other".c ]] || sources+=("$file")
    done
    for program in "$out/api.c" tests/c/test_*.c; do
        [ -e "$program" ] || continue
        "$out/venv/bin/python" -m ziglang cc -target "$target" -std=c11 "$macro" -O2 -pthread \
            -Wall -Wextra -Wconversion -Wshadow -Werror -Icsrc/core -Itests/c \
            -o "$out/program" "$program" "${sources[@]}"
        if [ "$target" = "$(uname -m)-linux-musl" ] && [ "$program" != "$out/api.c" ]; then
            "$out/program"
            ran=", and run"
        fi
    done
    echo "ok: $target$ran"
}

for target in aarch64-macos.11.0 x86_64-macos.11.0; do
    build "$target" -D_DARWIN_C_SOURCE linux
done
for target in {x86_64,aarch64}-linux-{musl,gnu.2.28}; do
    build "$target" -D_GNU_SOURCE macos
done
