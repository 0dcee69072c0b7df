#!/bin/sh
# Programs that tests drive and that no Python package carries: a browser.
# Installed where that is possible without asking; elsewhere the test that needs it says so.
set -eu
if command -v chromium >/dev/null 2>&1; then
    exit 0
fi
if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing chromium for the browser test" >&2
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null
else
    echo "chromium is not installed: the browser test will be skipped" >&2
fi
