#!/bin/sh
# Programs that tests drive and that no Python package carries: browsers, a Docker engine, a PostgreSQL server,
# Prometheus with its Alertmanager, reverse proxies, what base images, the lab's hosts, SSH and a registry are made with, and a
# wall clock that can be set.
# "all": what only tests of the second tier need, too.
# Installed where that is possible without asking; elsewhere the tests that need them say so.
set -eu
wanted=""
second=""
[ "${1-}" = all ] && second=firefox-esr:firefox-esr
for pair in chromium:chromium $second mmdebstrap:mmdebstrap ssh:openssh-client /usr/sbin/sshd:openssh-server \
    docker-registry:docker-registry faketime:faketime systemd-analyze:systemd; do
    command -v "${pair%%:*}" >/dev/null 2>&1 || wanted="$wanted ${pair##*:}"
done
# Its programs are not on PATH.
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || wanted="$wanted postgresql"
if [ -n "$wanted" ]; then
    if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
        echo "installing for the tests:$wanted" >&2
        apt-get update -qq
        # The package would make a server of the machine's own and start it; the tests make theirs.
        cluster=/etc/postgresql-common/createcluster.conf
        case "$wanted " in *" postgresql "*)
            [ -e "$cluster" ] || { mkdir -p "${cluster%/*}" && echo 'create_main_cluster = false' >"$cluster"; } ;;
        esac
        # shellcheck disable=SC2086 # one word for each package
        UCF_FORCE_CONFFOLD=1 DEBIAN_FRONTEND=noninteractive \
            apt-get install -y -qq --no-install-recommends $wanted >/dev/null
    else
        echo "not installed:$wanted; the tests that need them will be skipped" >&2
    fi
fi
# Of these only the programs: the packages are services that start now and at every boot.
wanted=""
for pair in prometheus:prometheus prometheus-alertmanager:prometheus-alertmanager nginx:nginx haproxy:haproxy \
    caddy:caddy; do
    PATH=$PATH:/usr/sbin command -v "${pair%%:*}" >/dev/null 2>&1 || wanted="$wanted ${pair##*:}"
done
if [ -n "$wanted" ]; then
    if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
        echo "unpacking into /usr/local/bin for the tests:$wanted" >&2
        folder=$(mktemp -d)
        apt-get update -qq
        # shellcheck disable=SC2086 # one word for each package
        (cd "$folder" && apt-get download -qq -o APT::Sandbox::User=root $wanted)
        # Libraries start nothing.
        # shellcheck disable=SC2046,SC2086 # one word for each package
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
            $(apt-cache depends --important $wanted | sed -n 's/^ *Depends: \(lib[^ ]*\)$/\1/p' | grep -v -e -tools | sort -u) >/dev/null
        for package in "$folder"/*.deb; do
            dpkg-deb --extract "$package" "$folder/all"
        done
        find "$folder/all/usr/bin" "$folder/all/usr/sbin" -type f -perm -u+x -exec cp {} /usr/local/bin/ \; 2>/dev/null || :
        # Without its template Alertmanager does not start.
        if [ -d "$folder/all/usr/share/prometheus" ]; then
            mkdir -p /usr/share/prometheus
            cp -R "$folder/all/usr/share/prometheus/." /usr/share/prometheus/
        fi
        rm -rf "$folder"
    else
        echo "not on PATH:$wanted; the tests that need them will be skipped" >&2
    fi
fi
"$(dirname "$0")/docker-engine.sh" || echo "the tests that need a Docker engine will be skipped" >&2
