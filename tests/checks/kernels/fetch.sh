#!/usr/bin/env bash
# Fetches a kernel, or makes a root file system, from Debian, by the names of suites and
# packages; from where, this machine's own apt sources tell.
#
#   fetch.sh sources CACHE                         lists of packages, once a day
#   fetch.sh kernel CACHE SUITE PACKAGE MACHINE    CACHE/PACKAGE-SUITE/{vmlinuz,initrd,release}
#   fetch.sh root CACHE MACHINE PYTHON GROUPS...   CACHE/root-MACHINE/ and CACHE/root-MACHINE.img,
#                                                  without GROUPS and a compiler CACHE/bare-MACHINE
#
# MACHINE is x86_64 or aarch64. The root has a venv, /venv, with GROUPS of pyproject.toml, which
# the pip of PYTHON fetches. Runs as root, in the project's directory; what is there is kept. Needs
# no program of another machine's.
set -euo pipefail
what=$1 cache=$2
shift 2

debian() { case $1 in x86_64) echo amd64 ;; aarch64) echo arm64 ;; esac; }

# "URI suite" of every source of Debian, this release's own name replaced.
sources() {
    local codename
    codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
    apt-get indextargets --format '$(SITE) $(RELEASE)' | sort -u |
        while read -r site release; do
            for suite in bullseye bookworm trixie; do
                case $release in
                "$codename") echo "$site $suite" ;;
                "$codename-security") echo "$site $suite-security" ;;
                esac
            done
            [ "$release" != "$codename" ] || echo "$site trixie-backports"
        done
}

apt_options=(-o "Dir::Etc::sourcelist=$cache/apt/sources.list" -o Dir::Etc::sourceparts=-
    -o "Dir::State=$cache/apt" -o "Dir::State::status=$cache/apt/status" -o "Dir::Cache=$cache/apt/cache"
    -o APT::Architectures::=amd64 -o APT::Architectures::=arm64 -o Acquire::Languages=none -o APT::Sandbox::User=root)

case $what in
sources)
    [ -z "$(find "$cache/apt/fetched" -mtime -1 2>/dev/null)" ] || exit 0
    mkdir -p "$cache"/apt/lists/partial "$cache"/apt/cache/archives/partial
    : >"$cache/apt/status"
    sources | sed 's/.*/deb & main/' >"$cache/apt/sources.list"
    apt-get "${apt_options[@]}" -qq update
    touch "$cache/apt/fetched"
    ;;
kernel)
    suite=$1 package=$2 arch=$(debian "$3")
    to=$cache/$package-$suite
    [ ! -e "$to/initrd" ] || exit 0
    bash "$0" sources "$cache"
    # The package that is named depends on the newest version's; that may need another yet.
    version=$(apt-cache "${apt_options[@]}" madison "$package:$arch" | awk -F ' *[|] *' -v s="$suite" '
        { split($3, where, " ") } where[2] ~ "^" s "(-security)?/" { print $2 }' | sort -V | tail -n 1)
    [ -n "$version" ] || { echo "there is no $package in $suite" >&2; exit 1; }
    needs() { # of a package: those of the kernel's own version
        apt-cache "${apt_options[@]}" show "$1:$arch=$version" | sed -n 's/^Depends: //p' | tr ',' '\n' |
            sed -n 's/^ *\(linux-\(image\|modules\|binary\)-[0-9][^ ]*\).*/\1/p'
    }
    mapfile -t debs < <(for image in $(needs "$package"); do echo "$image" && needs "$image"; done | sort -u)
    rm -rf "$to"
    mkdir -p "$to"/{deb,x,i/bin,i/modules}
    (cd "$to/deb" && apt-get "${apt_options[@]}" -qq download "${debs[@]/%/:$arch=$version}")
    for deb in "$to"/deb/*.deb; do
        dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$to/x" --wildcards --exclude='*/drivers/gpu/*' \
            --exclude='*/drivers/net/*' --exclude='*/drivers/media/*' --exclude='*/sound/*' --exclude='*/share/doc/*'
    done
    base=$to/x
    [ ! -d "$to/x/usr/lib/modules" ] || base=$to/x/usr
    release=$(ls "$base/lib/modules")
    depmod -b "$base" "$release" 2>/dev/null
    # Each with what it needs, in the order to load them; what the kernel has built in is no file.
    for module in virtio_pci virtio_mmio virtio_blk virtio_rng crc32c crc32c_generic ext4; do
        modprobe -d "$base" -S "$release" --show-depends "$module" 2>/dev/null | sed -n 's/^insmod *\([^ ]*\).*/\1/p' || :
    done | awk '!seen[$0]++' | while read -r file; do
        name=$(basename "$file")
        case $name in
        *.xz) name=${name%.xz} && xz -dc "$file" ;;
        *.zst) name=${name%.zst} && zstd -qdc "$file" ;;
        *) cat "$file" ;;
        esac >"$to/i/modules/${name%.ko*}.ko"
        echo "${name%.ko*}.ko" >>"$to/i/modules/order"
    done
    cp "$(find "$cache/root-$3" "$cache/bare-$3" -path '*/usr/bin/busybox' 2>/dev/null | head -n 1)" "$to/i/bin/"
    cp "$(find "$to/x" -name 'vmlinuz*' | head -n 1)" "$to/vmlinuz"
    (cd "$to/i" && find . | cpio -o -H newc --quiet | gzip -1) >"$to/initrd.part"
    rm -rf "$to"/{deb,x,i}
    mv "$to/initrd.part" "$to/initrd"
    ;;
root)
    machine=$1 python=$2
    shift 2
    to=$cache/root-$machine
    [ $# != 0 ] || to=$cache/bare-$machine
    [ ! -e "$to.img" ] || exit 0
    rm -rf "$to"
    mirror=$(sed -n 's/^deb \([^ ]*\) trixie main/\1/p' "$cache/apt/sources.list" | head -n 1)
    packages=base-files,base-passwd,bash,busybox-static,coreutils,dash,grep,hostname,iproute2,kmod,libc-bin,mawk,mount,procps,python3,sed,tar,util-linux
    [ $# = 0 ] || packages+=,findutils,gcc,gdb,libc6-dev,python3-dev
    # Nothing of it is run here, so it is as quick for another machine.
    mmdebstrap --quiet --variant=extract --architectures="$(debian "$machine")" --include=$packages \
        trixie "$to" "$mirror"
    cp "$to/usr/share/base-passwd/passwd.master" "$to/etc/passwd"
    cp "$to/usr/share/base-passwd/group.master" "$to/etc/group"
    echo '127.0.0.1 localhost' >"$to/etc/hosts"
    ln -s mawk "$to/usr/bin/awk"
    ln -sf gcc "$to/usr/bin/cc"
    site=$to/venv/lib/$(basename "$to"/usr/lib/python3.*)/site-packages
    mkdir -p "$to/venv/bin" "$site"
    ln -s /usr/bin/python3 "$to/venv/bin/python"
    printf 'home = /usr/bin\ninclude-system-site-packages = false\n' >"$to/venv/pyvenv.cfg"
    groups=() platforms=()
    for group; do groups+=(--group "$group"); done
    for glibc in 2_17 2_27 2_28 2_34; do platforms+=(--platform "manylinux_${glibc}_$machine"); done
    [ $# = 0 ] || "$python" -m pip --disable-pip-version-check install --quiet --only-binary :all: --python-version 3.13 \
        --no-compile --platform "manylinux2014_$machine" "${platforms[@]}" --target "$site" "${groups[@]}"
    # A program that starts a hundred others would compile each module a hundred times there.
    for other in $(sh tests/pythons.sh); do
        [[ $("$other" --version) = "Python 3.13."* ]] || continue
        env -u PYTHONPYCACHEPREFIX -u PYTHONDONTWRITEBYTECODE "$other" -m compileall -q -s "$to" \
            "$to"/usr/lib/python3.13 "$site" >/dev/null || :
        break
    done
    truncate -s 2G "$to.part"
    mke2fs -q -t ext4 -d "$to" "$to.part"
    mv "$to.part" "$to.img"
    ;;
esac
