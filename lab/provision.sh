#!/bin/sh
# Installs what the lab needs: Debian packages by apt, Python packages into .venv from the hashed
# lock file. Called by ./ceha at the first use and by the Vagrantfile; safe to call again.
# Usage: provision.sh [STAMP]     STAMP is kept in .venv/provisioned when all went well.
set -eu

home=$(cd -- "$(dirname -- "$0")/.." && pwd -P)
log=$home/.venv-provision.log
stamp=${1:-$(cat "$home/lab/provision.sh" "$home/lab/requirements.lock" "$home/lab/requirements-build.lock" | cksum)}

# mininet: mnexec; libusrsctp2: SCTP where the kernel has none; openvswitch-switch: the OpenFlow
# baseline; the rest: tools the lab calls.
packages="mininet libusrsctp2 iproute2 nftables tcpdump ethtool bridge-utils iputils-ping util-linux
procps python3-venv openvswitch-switch"
# Routing daemons, for OSPF over redirect. Without them the lab runs, and what needs them says so.
optional="frr"

say() { printf 'ceha: %s\n' "$1" >&2; }
fail() {
    say "$1"
    [ ! -s "$log" ] || tail -n 15 "$log" >&2
    exit 2
}

exec 9>"$home/.venv-provision.lock" || fail "cannot write to $home"
if command -v flock >/dev/null; then
    flock -n 9 || { say "another ceha is preparing this machine; waiting"; flock 9; }
fi
[ "$(cat "$home/.venv/provisioned" 2>/dev/null)" != "$stamp" ] || exit 0
: >"$log"

# missing PACKAGE...: those that are not installed.
missing() {
    for package in "$@"; do
        case $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) in
        *" installed") ;;
        *) printf ' %s' "$package" ;;
        esac
    done
}

install() {
    say "installing$*"
    # shellcheck disable=SC2086
    apt-get install -y --no-install-recommends $* >>"$log" 2>&1
}

# Units that start at boot: the links that `systemctl enable` makes.
enabled() { find /etc/systemd/system -type l -path '*.wants/*' -printf '%f\n' | sort -u; }

# shellcheck disable=SC2086
required=$(missing $packages) extra=$(missing $optional)
if [ -n "$required$extra" ]; then
    command -v apt-get >/dev/null ||
        [ -z "$required" ] || fail "needs Debian or Ubuntu (apt-get), or these packages:$required"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update >>"$log" 2>&1 || say "apt-get update had trouble; going on with the lists there are"
    # The lab runs daemons of its own. What these packages, and what they bring with them, would
    # start now (invoke-rc.d(8) asks this file) and at every boot is not started.
    policy=/usr/sbin/policy-rc.d
    mine=no
    before=$(enabled)
    if [ ! -e "$policy" ]; then
        mine=yes
        trap 'rm -f "$policy"' EXIT
        trap 'exit 2' HUP INT TERM
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
    fi
    [ -z "$required" ] || install "$required" || fail "apt-get could not install$required"
    [ -z "$extra" ] || install "$extra" ||
        say "apt-get could not install$extra: OSPF over redirect is not there (apt-get install$extra)"
    for unit in $(enabled); do
        printf '%s\n' "$before" | grep -qxF -- "$unit" ||
            systemctl disable "$unit" >>"$log" 2>&1 || true
    done
    if [ "$mine" = yes ]; then
        rm -f "$policy"
        trap - EXIT HUP INT TERM
    fi
fi

python=/usr/bin/python3
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
    fail "needs Python 3.11 or newer as $python (Debian 12 has it)"

# A list of Debian packages that changed is no reason to make the environment anew.
locked=$(cat "$home/lab/requirements.lock" "$home/lab/requirements-build.lock" | cksum)
if [ "$(cat "$home/.venv/locked" 2>/dev/null)" = "$locked" ]; then
    printf '%s\n' "$stamp" >"$home/.venv/provisioned"
    rm -f "$log"
    say "ready"
    exit 0
fi

say "installing the Python packages into .venv (about a minute)"
rm -rf "$home/.venv"
export PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
pip="$home/.venv/bin/python -m pip install --quiet --require-hashes"
{
    "$python" -m venv "$home/.venv" &&
        # Ryu's setup wants an old setuptools: no build isolation, so that it finds the locked one.
        $pip -r "$home/lab/requirements-build.lock" &&
        $pip --no-build-isolation -r "$home/lab/requirements.lock"
} >>"$log" 2>&1 || fail "pip could not install the locked packages"

mkdir -p "$home/.venv/cache/matplotlib"
"$home/.venv/bin/python" -m compileall -q "$home/forces" "$home/fe_datapath" "$home/ce" \
    "$home/topologies" "$home/lab" "$home/experiments" >>"$log" 2>&1 || true
printf '%s\n' "$locked" >"$home/.venv/locked"
printf '%s\n' "$stamp" >"$home/.venv/provisioned"
rm -f "$log"
say "ready"
