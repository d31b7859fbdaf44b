#!/bin/bash
# SPDX-License-Identifier: ISC
# Puts a build in place, and tells the running system about it.
#
#     conf/install.sh BUILD_DIR
#
# With DESTDIR=DIR everything goes below DIR, and the running system is left alone: that is for
# making packages. A configuration and keys that are there already are never touched.
set -euo pipefail
umask 022

fail() {
    echo "install: $*" >&2
    exit 1
}

[ $# -eq 1 ] || fail "usage: $0 BUILD_DIR"
build=$1
prefix=$(sed -n 's/^CMAKE_INSTALL_PREFIX:[A-Z]*=//p' "$build/CMakeCache.txt" 2>/dev/null) || true
[ -n "$prefix" ] || fail "$build is no build directory"
[ -n "${DESTDIR:-}" ] || [ "$(id -u)" = 0 ] || fail "needs root, or a DESTDIR to install below"

log=$(mktemp)
trap 'rm -f "$log"' EXIT
cmake --install "$build" --strip >"$log" || {
    cat "$log" >&2
    fail "cmake --install failed"
}
[ -x "${DESTDIR:-}$prefix/sbin/encsyncd" ] || fail "$build has no programs to install"
echo "Installed below ${DESTDIR:-}$prefix and ${DESTDIR:-}/etc:"
sed -n 's/^-- \(Installing\|Up-to-date\): /    /p' "$log" | while read -r file; do
    [ -d "$file" ] || echo "    $file"
done

[ -z "${DESTDIR:-}" ] || exit 0

# charon's user. A system without systemd has useradd in any case.
if ! getent passwd encsync >/dev/null; then
    echo "Adding the system user encsync, for charon"
    if command -v systemd-sysusers >/dev/null; then
        systemd-sysusers "$prefix/lib/sysusers.d/encsync.conf"
    else
        useradd --system --user-group --no-create-home --home-dir /nonexistent \
            --shell /usr/sbin/nologin --comment "encsync's charon" encsync
    fi
fi

# Private before there is anything in it.
[ -d /var/lib/encsync ] || install -d -m 0700 /var/lib/encsync

if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    # As at the next boot. A kernel without modules, or in a container, has its own way.
    systemctl restart systemd-modules-load.service systemd-sysctl.service ||
        echo "install: modules or sysctl settings could not be applied now; see above" >&2
elif [ -w /proc/sys/net/netfilter/nf_conntrack_events ]; then
    echo 1 >/proc/sys/net/netfilter/nf_conntrack_events || true
fi

# Another IKE daemon may be wanted, so it is only told of. encsyncd itself would say so, too.
if command -v ss >/dev/null && ! systemctl -q is-active encsync.service 2>/dev/null; then
    holder=$(ss -Hlunp 'sport = :500' | sed -n 's/.*users:(("\([^"]*\)".*/\1/p' | sort -u | head -n1)
    if [ -n "$holder" ] && [ "$holder" != encsyncd ]; then
        echo
        echo "UDP port 500 is taken by $holder. Stop it (strongSwan: systemctl disable --now" \
            "strongswan-starter), or set ikeport= and natport= on all firewalls."
    fi
fi

next=1
say() {
    echo "  $next. $*"
    next=$((next + 1))
}
echo
if systemctl -q is-active encsync.service 2>/dev/null; then
    echo "encsync is running still as it was before. Next:"
    say "systemctl restart encsync"
    exit 0
fi
echo "Next, on each firewall:"
if [ -e /etc/encsync/encsync.conf ]; then
    say "encsync check                 /etc/encsync/encsync.conf is yours and was left alone"
else
    say "encsync setup                 writes /etc/encsync/encsync.conf, makes the key, and pairs"
fi
if [ -e /var/lib/encsync/keys ]; then
    say "encsync keys list             whom this node trusts; its keys are there already"
elif [ -e /etc/encsync/encsync.conf ]; then
    say "encsync pair                  on both at once: makes the key, and each trusts the other"
fi
say "systemctl enable --now encsync; encsync status"
