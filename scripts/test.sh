#!/usr/bin/env bash
# All tests, in two streams beside each other: those that use the Docker engine, and the others. Each alone
# leaves one of two cores waiting. What the first says is shown when it has ended; arguments go to both.
# Without arguments, a few tests that failed are tried once more with nothing beside them, and named at the end.
set -uo pipefail
set -m  # a job of its own hears of Ctrl-C from us, and takes its containers away
cd "$(dirname "$0")/.."
NONE=5       # pytest: there were no such tests among those that were asked for
FAILED=1     # pytest: all have run, and some failed
MAY_FAIL=3   # more than so many failures are no accident
said=$(mktemp)
trap 'kill -INT "$docker" 2>/dev/null; wait; rm -f "$said"' EXIT
trap 'exit 130' INT TERM
again=$(($# == 0))

stream() { # its name, its mark, arguments: each remembers its failures in a place of its own
    local cache=.pytest_cache/$1 mark=$2
    shift 2
    .venv/bin/pytest -m "$mark" -o cache_dir="$cache" "$@"
}

second_try() { # the stream's name, its mark, what it ended with: what it ends with after all
    local list=.pytest_cache/$1/v/cache/lastfailed
    ((again && $3 == FAILED)) && [ -e "$list" ] || return "$3"
    local tests=$(.venv/bin/python -c 'import json, sys; print(*json.load(open(sys.argv[1])), sep="\n")' "$list")
    (($(wc -l <<<"$tests") <= MAY_FAIL)) || return "$3"
    echo "failed beside the other stream, and once more alone:"
    stream "$1" "$2" --last-failed --last-failed-no-failures none || return
    unsteady+=$tests$'\n'
}

docker=
((again)) && rm -rf .pytest_cache
stream docker docker "$@" >"$said" 2>&1 &
docker=$!
echo "tests with the Docker engine: shown at the end; until then in $said"
# The docker stream begins with six hosts: beside those come the unit tests, not another demo with its users.
((again)) && set -- tests/unit tests/integration tests/faults tests/e2e
stream others "not docker" "$@"
others=$?
# Interrupted, killed, or a test cannot even be read: nobody waits for the other stream.
((others == 2 || others > 128)) && exit "$others"
wait "$docker"
with_docker=$?
cat "$said"

unsteady=
second_try others "not docker" "$others"
others=$?
second_try docker docker "$with_docker"
with_docker=$?
[ -z "$unsteady" ] || printf 'UNSTEADY, passed alone only; find out why, each may be a defect:\n%s' "$unsteady"
((others == NONE && with_docker == NONE)) && exit "$NONE"
((others == 0 || others == NONE)) || exit "$others"
((with_docker == 0 || with_docker == NONE)) || exit "$with_docker"
