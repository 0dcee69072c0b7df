#!/usr/bin/env bash
# Runs the first tier again and again, in another order each time, and names every test that ever failed.
#
#   scripts/steady.sh 5                          five times, `make test` as it is
#   scripts/steady.sh 3 tests/faults             three times, only these
#   BUSY=2 scripts/steady.sh 1                   beside two processes that do nothing but burn a core each
#
# Ends with 0 when none did, 1 when any did, 130 after Ctrl-C (with what it has found so far).
set -uo pipefail
cd "$(dirname "$0")/.."
case ${1-} in
    "" | *[!0-9]* | 0) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
times=$1
shift
folder=$(mktemp -d)
busy=()
report() {
    local code=$1
    trap - EXIT INT TERM
    ((${#busy[@]})) && kill "${busy[@]}" 2>/dev/null
    echo
    sort "$folder"/failed-* 2>/dev/null | uniq -c | sort -rn >"$folder/names"
    echo "$done_runs of $times runs; $(wc -l <"$folder/names") tests failed in any of them"
    cat "$folder/names"
    echo "the runs' output: $folder"
    [ "$code" = 0 ] && [ -s "$folder/names" ] && code=1
    exit "$code"
}
done_runs=0
trap 'report 130' INT TERM
trap 'report 1' EXIT
for ((i = 0; i < ${BUSY:-0}; i++)); do
    (while :; do :; done) &
    busy+=($!)
done
code=0
for ((run = 1; run <= times; run++)); do
    began=$SECONDS
    if (($#)); then
        scripts/test.sh first "$@"
    else
        make --no-print-directory test
    fi >"$folder/run-$run" 2>&1
    ended=$?
    ((ended)) && code=1
    sed -n 's/^\(FAILED\|ERROR\) \(tests\/[^ ]*\).*/\2/p' "$folder/run-$run" | sed 's/@[^@]*$//' | sort -u >"$folder/failed-$run"
    done_runs=$run
    seed=$(grep -om1 'random seed: [0-9]*\|--randomly-seed=[0-9]*' "$folder/run-$run" | grep -o '[0-9]*')
    echo "run $run: exit $ended, $((SECONDS - began)) s, seed $seed, $(wc -l <"$folder/failed-$run") failed; $(tail -n 1 "$folder/run-$run")"
done
report "$code"
