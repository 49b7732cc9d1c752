#!/bin/sh
# Sets up what is missing and starts the engine (scripts/start.ts) with the pinned Node.
set -eu
cd "$(dirname "$0")/.."
sh scripts/setup.sh
for node in node_modules/node-linux-*/bin/node; do break; done
exec "$node" --disable-warning=ExperimentalWarning scripts/start.ts "$@"
