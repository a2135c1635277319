#!/usr/bin/env bash
# Compiles what a guest is to run: the programs of the tests, and the wheel, beside a copy of the
# tree and guest/job, in BUILD/kernels/job-MACHINE.
#
#   job.sh PYTHON BUILD MACHINE       MACHINE is x86_64 or aarch64; by Debian's compiler for it
set -euo pipefail
cd "$(dirname "$0")/../../.."
python=$1 build=$2 machine=$3
to=$build/kernels/job-$machine variant=plain
[ "$machine" = "$(uname -m)" ] || variant=$machine
export CC=$machine-linux-gnu-gcc

make -s programs CC="$CC" VARIANT=$variant DEATH="$build/death-$variant"
rm -rf "$to"
mkdir -p "$to"/{c,death}
make -s "$build/c-$variant/figures" CC="$CC" VARIANT=$variant
find tests/core -name 'test_*.c' ! -path '*/macos/*' | while read -r source; do cp "$build/c-$variant/$(basename "$source" .c)" "$to/c/"; done
for source in tests/core/death/*.c; do cp "$build/death-$variant/$(basename "$source" .c)" "$to/death/"; done
cp "$build/c-$variant/figures" "$to/"
cp -R csrc secalloc pytest_secalloc tests docs bench packaging ./*.py ./*.toml ./*.md ./*.in Makefile LICENSE "$to/"
LDSHARED="$CC -shared" _PYTHON_HOST_PLATFORM="linux-$machine" \
    "$python" -m pip wheel --quiet --no-deps --no-build-isolation -w "$to" "$to"
rm -rf "$to/build" "$to"/*.egg-info
"$python" -m zipfile -e "$to"/*.whl "$to/site"
# Else a guest compiles them, which takes minutes there, or each child of a test what it imports.
for other in $(sh tests/pythons.sh); do
    [[ $("$other" --version) = "Python 3.13."* ]] || continue
    (cd "$to" && env -u PYTHONPYCACHEPREFIX -u PYTHONDONTWRITEBYTECODE "$other" -m compileall -q site tests >/dev/null) || :
    break
done
cp tests/checks/kernels/guest/{job,hog.py,images.py} "$to/"
