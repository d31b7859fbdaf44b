# shellcheck shell=bash
# SPDX-License-Identifier: ISC
# Debian roots made by mmdebstrap from the package sources of this machine. To be sourced.

fail() {
    echo "$(basename "$0" .sh): $*" >&2
    exit 1
}

# Debian's own sources of this machine, each with the suite's name.
debian_sources() {
    local suite=$1 here site codename component
    here=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
    # shellcheck disable=SC2016 # the names are apt's
    apt-get indextargets --format '$(ORIGIN) $(SITE) $(CODENAME) $(COMPONENT)' 'Created-By: Packages' |
        sed -n 's/^Debian //p' | sort -u | while read -r site codename component; do
        case $codename in "$here" | "$here"-*) echo "deb $site $suite${codename#"$here"} $component" ;; esac
    done
}

# How this machine reaches them: proxies and the like.
debian_network() {
    apt-config dump --format '%F "%v";%n' Acquire | grep -vE '^Acquire(::(IndexTargets|Changelogs).*)? "'
}

# make_debian ROOT SUITE [OPTION OF MMDEBSTRAP...]; others who want the same one wait.
make_debian() {
    local root=$1 suite=$2 list
    shift 2
    mkdir -p "$(dirname "$root")"
    exec 9>"$root.lock"
    flock 9
    if [ ! -d "$root" ]; then
        echo "Making a root of Debian $suite in $root"
        apt-get update -q >/dev/null || fail "apt-get update failed"
        list=$(debian_sources "$suite")
        [ -n "$list" ] || fail "no package source of Debian in /etc/apt"
        rm -rf "$root.new"
        debian_network >"$root.apt"
        mmdebstrap --quiet --mode=root --variant=apt --aptopt="$root.apt" "$@" "$suite" "$root.new" - \
            <<<"$list" || fail "mmdebstrap failed"
        rm "$root.apt"
        mv -T "$root.new" "$root"
    fi
    exec 9>&-
}
