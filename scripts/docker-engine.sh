#!/bin/sh
# Makes sure that a Docker engine answers: the one that runs, else Debian's, installed and started here.
# Needs root only where there is something to install or to start. An engine that it starts stays.
set -eu

log=/var/log/dockerd.log

answers() {
    command -v docker >/dev/null 2>&1 && docker version --format '{{.Server.Version}}' >/dev/null 2>&1
}

fail() {
    echo "docker-engine: $*" >&2
    exit 1
}

answers && exit 0
[ "$(id -u)" -eq 0 ] || fail "no Docker engine answers, and only root may start one"
if ! command -v dockerd >/dev/null 2>&1 || ! command -v iptables >/dev/null 2>&1; then
    command -v apt-get >/dev/null 2>&1 || fail "no Docker engine is installed, and this is not Debian: install one"
    echo "installing docker.io" >&2
    apt-get update -qq || fail "apt-get update failed; is a Debian mirror reachable?"
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends docker.io iptables >/dev/null ||
        fail "apt-get could not install docker.io and iptables"
    # From Debian 13 on the client is a package of its own.
    command -v docker >/dev/null 2>&1 ||
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends docker-cli >/dev/null ||
        fail "apt-get could not install docker-cli"
fi

if [ -d /run/systemd/system ]; then
    systemctl start docker || fail "systemctl start docker failed; see: journalctl -u docker"
else
    # After a kill the files of process ids stay, and the numbers may be somebody else's by now.
    for file in /var/run/docker.pid /var/run/docker/containerd/containerd.pid; do
        program=dockerd
        [ "$file" = /var/run/docker.pid ] || program=containerd
        [ -e "$file" ] || continue
        # A process that is dead, reaped or not, has no program any more.
        case $(readlink "/proc/$(cat "$file")/exe" || true) in
            */"$program") ;;
            *) rm -f "$file" ;;
        esac
    done
    # Its own session and no open file of ours: it outlives the terminal, and nobody waits for it to end.
    setsid dockerd >>"$log" 2>&1 </dev/null &
fi
# Whoever started it, the package's own script perhaps: one that answers is enough.
waited=0
until answers; do
    [ "$waited" -lt 60 ] || fail "the engine does not answer after 60 s: $(tail -n 1 "$log" 2>/dev/null)"
    sleep 1
    waited=$((waited + 1))
done
