#!/usr/bin/env bash
# One tier of the tests, on several processes: "first" is what each change needs, "all" is everything.
#
#   scripts/test.sh first
#   scripts/test.sh all tests/integration/test_tls.py
#
# TEST_PROCESSES: how many. By default two for each core, since most of what a test does is to wait; for
# everything three for two cores, since what uses the engine comes one after the other and ends last: the fewer
# are beside it, the sooner it does.
set -euo pipefail
cd "$(dirname "$0")/.."
cores=$(nproc)
case ${1-} in
    first) processes=$((cores * 2)); set -- -m "not slow" "${@:2}" ;;
    all) processes=$((cores + cores / 2)); export TESTS=all; shift ;;
    *) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
# Hundreds of processes are started: each would compile again all that it imports.
unset PYTHONDONTWRITEBYTECODE
exec .venv/bin/pytest -n "${TEST_PROCESSES:-$processes}" "$@"
