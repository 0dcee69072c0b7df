#!/usr/bin/env bash
# Keeps the services of a release for the tests that run them beside those of the next one.
#
#   scripts/keep-previous.sh v0.1.0       after a release; the one before it goes
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# = 1 ] || { sed -n '2,4s/^# \{0,1\}//p' "$0"; exit 2; }
commit=$(git rev-parse --verify --short=7 "$1^{commit}")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
git archive "$commit" services/terminals | tar -x -C "$folder" --strip-components=1
rm -f tests/previous/*.tar.xz
# The same bytes each time, and no page: it is not what is tested.
tar -c -C "$folder" --exclude=static --sort=name --owner=0 --group=0 --mtime=@0 terminals |
    xz -9 >"tests/previous/$commit.tar.xz"
ls -l tests/previous/*.tar.xz
