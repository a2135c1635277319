#!/usr/bin/env bash
# Boots Debian's kernels by qemu, without KVM, and runs the tests in each; prints a line for each
# kernel and user, and one for each variant.
#
#   check.sh PYTHON BUILD [KERNEL...]      PYTHON is the venv's; BUILD keeps what is fetched
#
# KERNEL is 5.10, 6.1, 6.1-secretmem, 6.12, 7.3, 6.12-arm64, 6.12-arm64-16k, or a variant of 6.12:
# overcommit, pressure, hugepages, swap, hibernation, figures; none: all of them. Of the environment:
#
#   QUICK=1      of the C tests and of the programs that die those that have most to do with the
#                kernel, doctor and demo; nothing of pytest
#   PROGRAMS=... which C tests; PYTESTS=... which files of pytest, "tests" for all; if not told,
#                those that have most to do with the kernel
#   ROUNDS=...   how often each program that dies, empty: none of them; DYING=... which of them
#                with QUICK, empty: all
#   PART=...     what is left to chance is tried so many times less often in C, 500 if not told
#   WHO=...      root, user, or both
#   MINUTES=...  after how many a guest begins no other program; 60 if not told. Half as long
#                again, and it is taken to hang
#   BOOTS=...    how often a guest is booted, 1 if not told, to go on with what is left; what then
#                still is, is told
#   AGAIN=1      to go on with what an earlier call left, of the same build
#
# Wants root, for mmdebstrap, and what docs/platforms.md names. What is missing is
# told, and what needs it skipped.
set -euo pipefail
cd "$(dirname "$0")/../../.."
python=$1 build=$2 cache=$2/kernels
shift 2
here=tests/checks/kernels
all='5.10 6.1 6.1-secretmem 6.12 7.3 6.12-arm64 6.12-arm64-16k overcommit pressure hugepages swap hibernation figures'
some='tests/api/test_limits.py tests/api/test_policy.py tests/api/test_rotate.py tests/channel/test_adopt.py tests/process/test_fork.py
    tests/commands/test_doctor.py'
few='tests/api/test_arena.py tests/api/test_policy.py tests/api/test_limits.py tests/commands/test_doctor.py'
core='test_os test_budget test_lock test_slot test_pages test_sandbox'
dying=${DYING-abort null_pointer over_write sealed stack_overflow_thread}
root=root # which kind of a root file system
[ -z "${QUICK:-}" ] || root=bare
passed=0 failed=0 skipped=0 guests_skipped=0

skip() { # guest, reason
    printf '%-16s skipped: %s\n' "$1" "$2"
    guests_skipped=$((guests_skipped + 1))
}

# What is to be had for a machine, once: prints the reason where it is not.
lacks() { # machine
    local command system=$1
    [ "$1" = x86_64 ] || system=aarch64
    for command in apt-get mmdebstrap mke2fs depmod modprobe cpio xz "qemu-system-$system" "$1-linux-gnu-gcc"; do
        command -v "$command" >/dev/null || { echo "there is no $command" && return; }
    done
    [ "$(id -u)" = 0 ] || { echo 'only root can make a root file system' && return; }
    [ -e "$cache/$root-$1.img" ] && return
    bash $here/fetch.sh sources "$cache" >"$cache/log" 2>&1 || { echo "no lists of packages: $(tail -n 1 "$cache/log")" && return; }
    echo "making a root file system for $1" >&2
    local groups=()
    [ $root = bare ] || groups=(test test-cryptography)
    bash $here/fetch.sh root "$cache" "$1" "$python" "${groups[@]}" >"$cache/log" 2>&1 || tail -n 1 "$cache/log"
}

declare -A ready # machine: empty, or why nothing can be run on it
prepared() { # guest, machine
    if [ -z "${ready[$2]+told}" ]; then
        ready[$2]=$(lacks "$2")
        if [ -z "${ready[$2]}" ] && [ ! -e "${AGAIN:+$cache/job-$2/job}" ] &&
            ! bash $here/job.sh "$python" "$build" "$2" >"$cache/log" 2>&1; then
            ready[$2]='it does not compile' failed=$((failed + 1))
            tail -n 20 "$cache/log"
        fi
    fi
    [ -z "${ready[$2]}" ] || { skip "$1" "${ready[$2]}" && return 1; }
}

# Boot it, and count what it tells: lines "RAN who program seconds passed failed skipped".
boot() { # guest, machine, suite, package, lines for the job's parameters
    local out=$cache/out/$1 kernel=$cache/$4-$3 release seconds=$((60 * ${MINUTES:-60})) bad=0 times=0
    prepared "$1" "$2" || return 0
    bash $here/fetch.sh kernel "$cache" "$3" "$4" "$2" >"$cache/log" 2>&1 || {
        skip "$1" "no kernel: $(tail -n 1 "$cache/log")"
        return 0
    }
    [ -n "${AGAIN:-}" ] || rm -rf "$out"
    mkdir -p "$out"
    [ ! -e "$out/now/console" ] || cat "$out/now/console" >>"$out/console" # of one that was interrupted
    while [ $((times += 1)) -le "${BOOTS:-1}" ]; do
        printf '%s\n' "UNTIL=$seconds" "${@:5}" \
            "DONE='$(cat "$out"/console* 2>/dev/null | sed -n 's/^RAN \([^ ]*\) \([^ ]*\) .*/\1:\2/p' | tr '\n' ' ')'" >"$cache/job-$2/parameters"
        $here/vm.sh "$kernel" "$cache/$root-$2.img" "$cache/job-$2" "$out/now" $((seconds * 3 / 2)) ||
            [[ $1 = hibernation-* ]] || echo 'RAN - - 0 0 1 0' >>"$out/now/console" # it hung, or died
        tr -d '\r' <"$out/now/console" >>"$out/console"
        rm "$out/now/console"
        cp -R "$out/now/." "$out"
        rm -r "$out/now"
        tac "$out/console" | sed '/^GUEST:.* up after/q' | grep -q '^LEFT' || break
    done
    release=$(sed -n 's/^GUEST: \(.*\), pages of \([0-9]*\).*/\1, pages of \2/p' "$out/console" | head -n 1)
    while read -r who p f s left; do
        passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
        printf '%-16s %-48s %-5s %5d passed, %d failed, %d skipped%s\n' "$1" "$release" "$who" "$p" "$f" "$s" "${left:+; not run: $left}"
        bad=$((bad + f))
    done < <(awk '
        /^(RAN|LEFT)/ && !($2 in p) { whos[++n] = $2; p[$2] = 0 }
        /^RAN/ { p[$2] += $5; f[$2] += $6; s[$2] += $7 }
        /^GUEST:.* up after/ { for (who in left) delete left[who] }
        /^LEFT/ { left[$2] = left[$2] " " $3 }
        END { for (i = 1; i <= n; i++) print whos[i], p[whos[i]], f[whos[i]] + 0, s[whos[i]] + 0, left[whos[i]] }' "$out/console")
    [ $bad = 0 ] || { echo "    in $out:" && grep -aA 8 '^FAILED' "$out/console" | grep -avE '^(RAN|SKIPPED|LEFT)' | head -n 40 | sed 's/^/    /'; }
}

export CMDLINE MEMORY QEMU_ARGS
kernel() {
    CMDLINE='' MEMORY=2048 QEMU_ARGS=''
    local tests=${PYTESTS-$some} parameters=()
    case $1 in
    overcommit | hugepages) tests=${PYTESTS-$few} ;;
    pressure) tests=${PYTESTS-${few#* }} ;; # not the first, which fills 64 MiB: the kernel ends it
    esac
    [ -z "${QUICK:-}" ] || { tests='' parameters=("C_TESTS='$core'" DEATHS=1 "DYING='$dying'"); }
    parameters+=("PYTESTS='$(echo $tests)'")
    [ -z "${PROGRAMS+told}" ] || parameters+=("C_TESTS='$PROGRAMS'")
    [ -z "${ROUNDS+told}" ] || parameters+=("DEATHS=$ROUNDS")
    [ -z "${PART:-}" ] || parameters+=("PART=$PART")
    [ -z "${WHO:-}" ] || parameters+=("WHO='$WHO'")
    local swap=$cache/swap.img
    case $1 in
    5.10) boot "$1" x86_64 bullseye linux-image-amd64 "${parameters[@]}" ;;
    6.1) boot "$1" x86_64 bookworm linux-image-amd64 "${parameters[@]}" ;;
    6.1-secretmem) CMDLINE=secretmem.enable=1 boot "$1" x86_64 bookworm linux-image-amd64 "${parameters[@]}" ;;
    6.12) boot "$1" x86_64 trixie linux-image-amd64 "${parameters[@]}" ;;
    7.3) boot "$1" x86_64 trixie-backports linux-image-amd64 "${parameters[@]}" ;;
    6.12-arm64) boot "$1" aarch64 trixie linux-image-arm64 "${parameters[@]}" ;;
    6.12-arm64-16k) boot "$1" aarch64 trixie linux-image-arm64-16k "${parameters[@]}" ;;
    overcommit)
        boot "$1" x86_64 trixie linux-image-amd64 "${parameters[@]}" \
            'prepare() { sysctl -q vm.overcommit_memory=2 vm.overcommit_ratio=90; }'
        ;;
    pressure) # beside a program that wants more than there is, and gets what the kernel can drop
        MEMORY=256 boot "$1" x86_64 trixie linux-image-amd64 "${parameters[@]}" \
            'prepare() { while :; do /venv/bin/python -P hog.py 100; sleep 1; done & }'
        ;;
    hugepages)
        boot "$1" x86_64 trixie linux-image-amd64 "${parameters[@]}" \
            'prepare() { for f in enabled defrag; do echo always >/sys/kernel/mm/transparent_hugepage/$f; done; }'
        ;;
    swap)
        for secretmem in True False; do
            image 512M
            MEMORY=256 on_a_disk "$1" swap $secretmem 'control yes, secret no'
        done
        ;;
    figures) # as an ordinary user: nothing is counted
        boot "$1" x86_64 trixie linux-image-amd64 WHO= 'prepare() {
            for kib in 64 8192; do for processes in 1 10; do for kind in isolated pool; do
                (ulimit -l $kib && setpriv --reuid 1000 --regid 1000 --clear-groups ./figures hold $processes $kind)
            done; done; done
            (ulimit -l 8192 && ./figures touch)
        }'
        [ -n "${ready[x86_64]}" ] || grep -aE 'locked,|first touch' "$cache/out/$1/console" | sed 's/^/    /'
        ;;
    hibernation) # with secretmem in use it must not; without it writes locked pages too, as docs/threats.md says
        export MEMORY=512 CMDLINE=hibernate=nocompress
        image 1G
        on_a_disk "$1" hibernate True 'control no, secret no'
        image 1G
        on_a_disk "$1" hibernate False 'control yes, secret yes'
        ;;
    *) echo "no such kernel or variant: $1" >&2 && exit 2 ;;
    esac
}

image() { # size: a disk to swap to
    rm -f "$swap"
    truncate -s "$1" "$swap"
    mkswap -q "$swap" 2>/dev/null
    QEMU_ARGS="-drive file=$swap,format=raw,if=virtio,cache=unsafe"
}

# A guest makes a secret and a control, and has them written. It tells the digests of their
# pages. Then the disk is searched for those pages.
on_a_disk() { # variant, what images.py is to do, with secretmem or not, what is right
    boot "$1-$3" x86_64 trixie linux-image-amd64 WHO= \
        "prepare() { swapon /dev/vdd; /venv/bin/python -P images.py $2 $3; }"
    [ -z "${ready[x86_64]}" ] || return 0
    local what
    what=$("$python" $here/guest/images.py search "$swap" "$cache/out/$1-$3/console")
    if [ "$what" = "$4" ]; then passed=$((passed + 1)); else failed=$((failed + 1)) && what="FAILED: $what, not $4"; fi
    printf '%-16s %-54s %s\n' "$1" "secretmem=$3" "$what"
}

mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
# shellcheck disable=SC2086
for name in ${*:-$all}; do kernel "$name"; done
[ $guests_skipped = 0 ] || echo "guests skipped: $guests_skipped"
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
