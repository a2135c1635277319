#!/usr/bin/env bash
# Without a GIL: all tests on an installed wheel; the bodies of those that look at one
# arena or pool in four threads at once; and the same, with the tests made for threads,
# under ThreadSanitizer, interpreter and extension.
#
#   [FT_VERSION=3.15] tests/checks/freethreaded.sh DIRECTORY
#
# PYTHON_FT and PYTHON_FT_TSAN are free-threaded CPythons. The second one is configured
# --with-thread-sanitizer by clang, and TSAN_SOURCE is its source. What is not given
# is built from Debian's source package, which takes minutes and, once, the network. From
# 3.15 on the wheel is tried on the build with a GIL as well, PYTHON_GIL or one made here.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=$1 version=${FT_VERSION:-3.13} clang=${CLANG:-clang-16}
mkdir -p "$out/$version"
out=$(cd "$out/$version" && pwd)

# From the first of Debian's suites that has it, by an apt that has its own lists.
fetch() {
    [ ! -e "$out/source.tar" ] || return 0
    local site suite apt=$out/apt
    site=$(apt-get indextargets --format '$(SITE)' 'Origin: Debian' | head -n 1)
    for suite in stable testing unstable; do
        rm -rf "$apt"
        mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/sources"
        printf '%s\n' "Types: deb-src" "URIs: $site" "Suites: $suite" "Components: main" \
            "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg" >"$apt/sources/debian.sources"
        printf '%s\n' "Dir::State::lists \"$apt/lists\";" "Dir::Cache \"$apt/cache\";" \
            'Dir::Etc::sourcelist "/dev/null";' "Dir::Etc::sourceparts \"$apt/sources\";" \
            'APT::Sandbox::User "root";' >"$apt/apt.conf"
        (
            export APT_CONFIG=$apt/apt.conf
            cd "$apt" && apt-get -qq update && apt-get -qq source --download-only "python$version"
        ) && mv "$apt"/*.orig.tar.?z "$out/source.tar" && return
    done
    echo "no source of python$version: give PYTHON_FT, PYTHON_FT_TSAN and TSAN_SOURCE" >&2
    exit 1
}

interpreter() { # name, options of configure...
    local name=$1 prefix=$out/$1
    shift
    [ ! -e "$prefix/.made" ] || return 0
    fetch
    rm -rf "$prefix" "$out/source-$name"
    mkdir -p "$out/source-$name"
    tar -C "$out/source-$name" --strip-components=1 -xf "$out/source.tar"
    echo "== building CPython $version, $name: $*"
    (cd "$out/source-$name" && ./configure -q --prefix="$prefix" "$@" && make -s &&
        make -s altinstall) >"$out/$name.log" 2>&1 || { tail -n 20 "$out/$name.log"; exit 1; }
    touch "$prefix/.made"
}

[ -n "${PYTHON_FT:-}" ] || { interpreter plain --disable-gil; PYTHON_FT=$out/plain/bin/python${version}t; }
[ -n "${PYTHON_FT_TSAN:-}" ] || {
    CC=$clang interpreter tsan --disable-gil --with-thread-sanitizer
    PYTHON_FT_TSAN=$out/tsan/bin/python${version}t TSAN_SOURCE=$out/source-tsan
}
[ "$("$PYTHON_FT" -c 'import sys; print(sys._is_gil_enabled())')" = False ] || {
    echo "$PYTHON_FT has a GIL" >&2
    exit 1
}

echo "== all tests: $("$PYTHON_FT" -VV)"
make -s install venv PYTHON="$PYTHON_FT"
venv=build/venv-$("$PYTHON_FT" -c 'import sys; print("%d.%d" % sys.version_info[:2] + sys.abiflags)')
tools=$out/tools
rm -rf "$tools"
"$venv/bin/python" -m pip install --quiet --prefer-binary --target "$tools" --group freethreaded
"$venv/bin/python" -P -m pytest -q -o cache_dir="$out/pytest" tests

if [ "${version#3.}" -ge 15 ]; then # the wheel is that build's too
    [ -n "${PYTHON_GIL:-}" ] || { interpreter gil --enable-gil; PYTHON_GIL=$out/gil/bin/python$version; }
    echo "== the same wheel: $("$PYTHON_GIL" -VV)"
    make -s check-wheel PYTHON="$PYTHON_GIL" FILE="$(ls build/wheel-"${venv#build/venv-}"/*.whl)"
fi

echo "== in four threads"
PYTHONPATH=$tools "$venv/bin/python" -P -m pytest -q -c tests/parallel.ini -o cache_dir="$out/pytest" tests

echo "== under ThreadSanitizer: $("$PYTHON_FT_TSAN" -VV)"
site=$out/site
rm -rf "$out/source" "$out/wheel" "$site"
mkdir -p "$out/source"
cp -R csrc secalloc pytest_secalloc setup.py pyproject.toml README.md LICENSE "$out/source"
sed -i 's/"-g0", //' "$out/source/setup.py" # suppressions name what is compiled into its callers
(cd "$out/source" && PYTHONPATH=$tools setarch -R "$PYTHON_FT_TSAN" setup.py -q bdist_wheel -d "$out/wheel")
"$venv/bin/python" -m pip install --quiet --no-deps --target "$site" "$out"/wheel/*.whl
cat "$TSAN_SOURCE/Tools/tsan/suppressions_free_threading.txt" tests/tsan.supp >"$out/suppressions"
# The library's handlers must get the faults; what is found goes to files, past pytest.
rm -f "$out"/race.*
export TSAN_OPTIONS="suppressions=$out/suppressions log_path=$out/race exitcode=0 use_sigaltstack=0 \
history_size=7 external_symbolizer_path=$(command -v llvm-symbolizer llvm-symbolizer-16 | head -n 1) \
handle_segv=0 handle_sigbus=0 handle_abort=0 handle_sigill=0 handle_sigfpe=0 handle_sigtrap=0"
sanitized() {
    PYTHONPATH=$site:$tools setarch -R "$PYTHON_FT_TSAN" -P -m pytest -q -o cache_dir="$out/pytest" "$@"
}
failed=0
sanitized -c tests/parallel.ini tests || failed=1
sanitized tests/api/test_threads.py -k 'not alternate_stack' || failed=1 # those run children, without the tools
shopt -s nullglob
"$venv/bin/python" tests/checks/races.py _core. "$out"/race.* || failed=1
[ "$failed" = 0 ] || exit 1
echo "ok: free-threaded $version"
