#!/bin/bash
# SPDX-License-Identifier: ISC
# Runs a command in this checkout as on another suite of Debian: in a chroot that mmdebstrap makes from
# the package sources of this machine, as root.
#
#     tests/suite.sh trixie ./run build
#
# The chroot is kept in /var/cache/encsync for the next time; what is built goes to build/SUITE. All
# mounts are in a mount namespace and all processes in a pid namespace, so nothing stays when the
# command ends, however it ends. The network is that of the caller.
set -euo pipefail

# shellcheck source=tests/debian.sh
. "$(dirname "$0")/debian.sh"

[ $# -ge 2 ] || fail "usage: $0 SUITE COMMAND..."
[ "$(id -u)" = 0 ] || fail "needs root"
suite=$1
shift
checkout=$(readlink -f "$(dirname "$0")/..")
root=/var/cache/encsync/$suite

# In the namespaces.
enter() {
    local from
    # Its / must be a mount, as any other system's: charon's launcher makes it private.
    mount --bind "$root" "$root"
    for from in dev sys; do
        mount --rbind "/$from" "$root/$from"
    done
    mount -t proc proc "$root/proc"
    mount -t tmpfs -o mode=0755 tmpfs "$root/run"
    mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
    mount --bind "$checkout" "$root/encsync"
    mount --bind "$checkout/build/$suite" "$root/encsync/build"
    for from in resolv.conf hosts; do
        cp -L "/etc/$from" "$root/etc/$from"
    done
    # No exec: as the first process of the namespace, this shell waits for all that lose their parent.
    chroot "$root" /usr/bin/env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin TERM="${TERM:-dumb}" \
        LC_ALL=C.UTF-8 /bin/sh -c 'cd /encsync && exec "$@"' sh "$@"
}

if [ "${ENCSYNC_SUITE_ENTERED:-}" = yes ]; then
    enter "$@"
    exit
fi
mkdir -p "$checkout/build/$suite"
make_debian "$root" "$suite"
mkdir -p "$root/encsync"
ENCSYNC_SUITE_ENTERED=yes unshare --mount --propagation private --pid --fork --kill-child \
    "$0" "$suite" "$@"
