#!/bin/sh
# Writes src/api/answer-schemas.ts anew from the types of answers.
set -eu
cd "$(dirname "$0")/.."
for node in node_modules/node-linux-*/bin/node; do break; done
exec "$node" scripts/schemas.ts "$@"
