#!/usr/bin/env bash
# One tier of the tests, on several processes: "first" is what each change needs, "all" is everything.
#
#   scripts/test.sh first
#   scripts/test.sh all tests/integration/test_tls.py
#
# TEST_PROCESSES: how many (two for each core by default, since most of what a test does is to wait).
set -euo pipefail
cd "$(dirname "$0")/.."
case ${1-} in
    first) set -- -m "not slow" "${@:2}" ;;
    all) shift ;;
    *) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
# Hundreds of processes are started: each would compile again all that it imports.
unset PYTHONDONTWRITEBYTECODE
exec .venv/bin/pytest -n "${TEST_PROCESSES:-$(($(nproc) * 2))}" "$@"
