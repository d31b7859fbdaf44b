#!/bin/sh
# SPDX-License-Identifier: ISC
# Fetches strongSwan's headers, which Debian ships in no -dev package, from Debian's own source
# package, in exactly the version of the charon installed here: the plugin is loaded into that
# charon, and the structures have to agree.
#
#     ipsec/plugin/strongswan-headers.sh build/strongswan
#
# Needs apt and the machine's own package sources; changes neither. Does nothing if the headers
# are there already.
set -eu

fail() {
    echo "strongswan-headers: $*" >&2
    exit 1
}

[ $# -eq 1 ] || fail "usage: $0 DIRECTORY"
dest=$1

installed=$(dpkg-query -W -f '${Version}' strongswan-libcharon 2>/dev/null) && [ -n "$installed" ] ||
    fail "no charon is installed: apt-get install strongswan-charon"
upstream=${installed%-*}
upstream=${upstream#*:}

if [ -f "$dest/version" ] && [ "$(cat "$dest/version")" = "$upstream" ]; then
    echo "strongSwan $upstream headers are in $dest"
    exit 0
fi

mkdir -p "$(dirname "$dest")"
work=$(mktemp -d "$(dirname "$dest")/.strongswan.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# The machine's own sources, each asked for source packages; whatever else they say (mirror,
# signing key, suites) is kept.
mkdir -p "$work/sources" "$work/alone" "$work/lists/partial" "$work/tar"
for list in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
    [ -f "$list" ] || continue
    name=$(basename "$list" .list | sed 's/^sources$/main/')
    sed -n 's/^[[:space:]]*deb\([[:space:]].*\)/deb-src\1/p' "$list" |
        sed 's/\([[:space:][]\)arch=[^] ]*/\1/' |
        split -l 1 --additional-suffix=.list - "$work/sources/$name."
done
for list in /etc/apt/sources.list.d/*.sources; do
    [ -f "$list" ] || continue
    grep -v '^Architectures:' "$list" | sed 's/^Types:.*/Types: deb-src/' \
        > "$work/sources/$(basename "$list")"
done
[ -n "$(ls "$work/sources")" ] || fail "no package sources in /etc/apt"

from=$work/sources
apt() {
    apt-get -q -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$from" \
        -o Dir::State::lists="$work/lists" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= \
        -o APT::Sandbox::User=root "$@"
}

echo "Fetching the strongSwan $upstream headers from Debian's source package (5 MB)"
apt update > "$work/log" 2>&1 || { cat "$work/log" >&2; fail "apt-get update failed"; }
# This very revision first; once a newer one replaced it in the archive, any of the same upstream
# version will do: its tarball is the same.
download() {
    (cd "$work/tar" && { apt source --download-only --tar-only "strongswan=$installed" ||
        apt source --download-only --tar-only strongswan; }) >> "$work/log" 2>&1
}
# apt asks the first archive that lists it. If that has not got it, another may.
download_from_any() {
    for list in "$work"/sources/*; do
        rm -f "$work"/alone/*
        cp "$list" "$work/alone"
        from=$work/alone
        ! download || return 0
    done
    return 1
}
download || download_from_any || { cat "$work/log" >&2; fail "apt-get source strongswan failed"; }

tarball=$(find "$work/tar" -name "strongswan_$upstream.orig.tar.*" ! -name '*.asc')
[ -n "$tarball" ] || fail "charon is $installed, but the archive has $(cd "$work/tar" && ls)"

mkdir "$work/headers"
tar -x -f "$tarball" -C "$work/headers" --strip-components=1 --no-same-owner --wildcards \
    '*/src/libstrongswan/*.h' '*/src/libcharon/*.h' '*/COPYING'
[ -f "$work/headers/src/libcharon/daemon.h" ] || fail "$tarball holds no headers"
echo "$upstream" > "$work/headers/version"
# Another build may have put them there meanwhile.
if [ ! -f "$dest/version" ] || [ "$(cat "$dest/version")" != "$upstream" ]; then
    rm -rf "$dest"
    mv -T "$work/headers" "$dest"
fi
echo "strongSwan $upstream headers are in $dest"
