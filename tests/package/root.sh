#!/bin/bash
# SPDX-License-Identifier: ISC
# Makes the root of the machines that a package is tried on: a bare Debian with systemd, and beside it what
# the package and Ansible need of Debian, downloaded, as these machines have no network. Prints its path.
#
#     tests/package/root.sh SUITE PACKAGE.deb
set -euo pipefail

# shellcheck source=tests/debian.sh
. "$(dirname "$0")/../debian.sh"

[ $# -eq 2 ] || fail "usage: $0 SUITE PACKAGE.deb"
[ "$(id -u)" = 0 ] || fail "needs root"
suite=$1 package=$2
root=/var/cache/encsync/$suite-machine

make_debian "$root" "$suite" --include=systemd,systemd-sysv,dbus,iproute2 >&2
cp "$package" "$root/package.deb"
cp -L /etc/resolv.conf "$root/etc/resolv.conf"
{
    chroot "$root" apt-get update -q &&
        chroot "$root" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q \
            --download-only /package.deb python3 python3-apt
} >"$root.log" 2>&1 || {
    cat "$root.log" >&2
    fail "what $package needs could not be downloaded"
}
rm "$root/package.deb" "$root.log"
echo "$root"
