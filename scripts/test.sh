#!/usr/bin/env bash
# All tests, in two streams beside each other: those that use the Docker engine, and the others. Each alone
# leaves one of two cores waiting. What the first says is shown when it has ended; arguments go to both.
set -uo pipefail
set -m  # a job of its own hears of Ctrl-C from us, and takes its containers away
cd "$(dirname "$0")/.."
said=$(mktemp)
trap 'kill -INT "$docker" 2>/dev/null; wait; rm -f "$said"' EXIT
trap 'exit 130' INT TERM

.venv/bin/pytest -m docker "$@" >"$said" 2>&1 &
docker=$!
echo "tests with the Docker engine: shown at the end; until then in $said"
# The docker stream begins with six hosts: beside those come the unit tests, not another demo with its users.
(($#)) || set -- tests/unit tests/integration tests/faults tests/e2e
.venv/bin/pytest -m "not docker" "$@"
others=$?
# Interrupted, killed, or a test cannot even be read: nobody waits for the other stream.
((others == 2 || others > 128)) && exit "$others"
wait "$docker"
with_docker=$?
cat "$said"

NONE=5  # there were no such tests among those that were asked for
((others == NONE && with_docker == NONE)) && exit "$NONE"
((others == 0 || others == NONE)) || exit "$others"
((with_docker == 0 || with_docker == NONE)) || exit "$with_docker"
