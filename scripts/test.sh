#!/usr/bin/env bash
# One tier of the tests, on several processes: "first" is what each change needs, "all" is everything.
#
#   scripts/test.sh first
#   scripts/test.sh all tests/integration/test_tls.py
#
# What measures, and is marked "alone" for it, comes after all else.
#
# TEST_PROCESSES: how many. By default two for each core, since most of what a test does is to wait; for
# everything three for two cores, since what uses the engine comes one after the other and ends last: the fewer
# are beside it, the sooner it does.
set -euo pipefail
cd "$(dirname "$0")/.."
cores=$(nproc)
# Hundreds of processes are started: each would compile again all that it imports.
unset PYTHONDONTWRITEBYTECODE
case ${1-} in
    first) exec .venv/bin/pytest -n "${TEST_PROCESSES:-$((cores * 2))}" -m "not slow" "${@:2}" ;;
    all) shift ;;
    *) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
export TESTS=all
beside=0 after=0
.venv/bin/pytest -n "${TEST_PROCESSES:-$((cores + cores / 2))}" -m "not alone" "$@" || beside=$?
.venv/bin/pytest -n 0 -m alone "$@" || after=$?
none=5 # so pytest ends where it has found nothing to do
[ $beside = $none ] && exit $after
[ $beside != 0 ] || [ $after = $none ] && exit $beside
exit $after
