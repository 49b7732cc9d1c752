#!/bin/sh
# Stops the engine and its containers (scripts/stop.ts).
set -eu
cd "$(dirname "$0")/.."
for node in node_modules/node-linux-*/bin/node; do break; done
[ -x "$node" ] || { echo "gantry: this checkout was never set up, so there is nothing to stop."; exit 0; }
exec "$node" --disable-warning=ExperimentalWarning scripts/stop.ts "$@"
