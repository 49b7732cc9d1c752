#!/bin/sh
# Sets up what is missing and runs the tests (scripts/test.ts) with the pinned Node.
set -eu
cd "$(dirname "$0")/.."
sh scripts/setup.sh
sh scripts/test-packages.sh
sh scripts/test-clients.sh || true
[ "$(id -u)" = 0 ] || { echo "gantry: the tests mount, make namespaces and start containers: run them as root." >&2; exit 1; }
for node in node_modules/node-linux-*/bin/node; do break; done
exec "$node" --disable-warning=ExperimentalWarning scripts/test.ts "$@"
