#!/usr/bin/env bash
# Compiles what a guest is to run: the programs of the tests, and the wheel, beside a copy of the
# tree and guest/job, in BUILD/kernels/job-MACHINE.
#
#   job.sh PYTHON BUILD MACHINE       MACHINE is x86_64 or aarch64; by Debian's compiler for it
set -euo pipefail
cd "$(dirname "$0")/../.."
python=$1 build=$2 machine=$3
to=$build/kernels/job-$machine variant=plain
[ "$machine" = "$(uname -m)" ] || variant=$machine
export CC=$machine-linux-gnu-gcc

make -s programs CC="$CC" VARIANT=$variant DEATH="$build/death-$variant"
rm -rf "$to"
mkdir -p "$to"/{c,death}
find "$build/c-$variant" -maxdepth 1 -type f -name 'test_*' ! -name '*.d' -exec cp {} "$to/c/" \;
find "$build/death-$variant" -maxdepth 1 -type f ! -name '*.d' -exec cp {} "$to/death/" \;
cp -R csrc secalloc tests docs bench packaging ./*.py ./*.toml ./*.md ./*.in Makefile LICENSE "$to/"
LDSHARED="$CC -shared" _PYTHON_HOST_PLATFORM="linux-$machine" \
    "$python" -m pip wheel --quiet --no-deps --no-build-isolation -w "$to" "$to"
rm -rf "$to/build" "$to"/*.egg-info
$CC -std=c11 -D_GNU_SOURCE -O2 -Icsrc/core -Itests/c -pthread -o "$to/figures" tests/kernels/figures.c "$build/c-$variant"/core/*.o
cp tests/kernels/guest/{job,hog.py,images.py} "$to/"
