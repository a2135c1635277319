#!/usr/bin/env bash
# Boots a kernel, runs a directory's ./job in it as root, and fetches what it leaves in /run/out.
#
#   vm.sh KERNEL ROOT.IMG JOB OUT [SECONDS]
#
# KERNEL is a directory of fetch.sh. OUT gets the console as OUT/console, and /run/out.
# The environment may set MEMORY (MiB), CPUS, CMDLINE (to add), QEMU_ARGS; the root is
# written to a copy that is thrown away. Ends with 0 if the guest came to its end.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
kernel=$1 root=$2 job=$3 out=$4 limit=${5:-1200}

case $(basename "$root") in
# What is written byte by byte, or flushes what is translated, would double what a page costs.
*x86_64*) qemu=(qemu-system-x86_64 -M pc -cpu max,erms=off,fsrm=off,smap=off,smep=off,la57=off) console=ttyS0 ;;
*) qemu=(qemu-system-aarch64 -M virt,mte=on -cpu max,pauth-impdef=on) console=ttyAMA0 ;; # real codes cost half the time
esac
rm -rf "$out"
mkdir -p "$out"
{
    cat "$kernel/initrd"
    (cd "$here/guest" && printf '%s\n' init start | cpio -o -H newc --quiet | gzip -1)
} >"$out/initrd"
tar -cf "$out/job.img" -C "$job" .
truncate -s %512 "$out/job.img"
truncate -s 64M "$out/out.img"
# shellcheck disable=SC2086
timeout -k 5 "$limit" "${qemu[@]}" -accel tcg -m "${MEMORY:-2048}" -smp "${CPUS:-1}" \
    -nodefaults -display none -no-reboot -serial "file:$out/console" \
    -kernel "$kernel/vmlinuz" -initrd "$out/initrd" -append "console=$console panic=-1 quiet ${CMDLINE:-}" \
    -object rng-random,id=r,filename=/dev/urandom -device virtio-rng-pci,rng=r \
    -drive "file=$root,format=raw,if=virtio,snapshot=on" \
    -drive "file=$out/job.img,format=raw,if=virtio,readonly=on" \
    -drive "file=$out/out.img,format=raw,if=virtio,cache=unsafe" ${QEMU_ARGS:-} >"$out/qemu" 2>&1 || :
tar -xf "$out/out.img" -C "$out" 2>/dev/null || :
rm -f "$out"/{job.img,out.img,initrd}
grep -q 'GUEST: the job ended with 0' "$out/console"
