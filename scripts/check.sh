#!/bin/sh
# The checks that read the source without running it: types, format, lint, layers.
set -eu
cd "$(dirname "$0")/.."
for node in node_modules/node-linux-*/bin/node; do break; done
[ -x "$node" ] || { sh scripts/setup.sh; for node in node_modules/node-linux-*/bin/node; do break; done; }
exec "$node" --disable-warning=ExperimentalWarning scripts/test.ts --checks "$@"
