#!/bin/sh
# Builds dist/: the CLI as one executable, the engine, its helpers and its worker threads as one script each for Node.
# `build.sh --check` only says, by its exit code, whether dist/ is newer than all that it is made of.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd -P)
cd "$root"
. scripts/progress.sh

case $(uname -m) in
  x86_64) cpu=x64 bun_cpu=x64 ;;
  *) cpu=arm64 bun_cpu=aarch64 ;;
esac
node=$root/node_modules/node-linux-$cpu/bin/node
bun=$root/node_modules/@oven/bun-linux-$bun_cpu/bin/bun

current() {
  # Folders count as well: removing or renaming a file changes nothing but its folder's time.
  [ -x dist/gantry ] && [ -e dist/.built ] &&
    [ -z "$(find src package.json package-lock.json scripts/build.sh -newer dist/.built ! -name '*.test.ts' -print -quit)" ]
}

if [ "${1-}" = --check ]; then
  current
  exit
fi

[ -x "$bun" ] || fail "node_modules is incomplete: run 'npm run setup' first."
mkdir -p dist
# One build at a time; whoever waited finds it done.
exec 9>dist/.lock
flock 9
current && exit 0

step "setup: building dist/"
work=$(mktemp -d dist/.build-XXXXXX)
trap 'rm -rf "$work"' EXIT
: >"$work/.built"
bundle() {
  "$bun" build "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2; fail "the build of $what failed: see above."; }
}
what="the CLI"
# No .env or bunfig.toml of the folder that somebody works in is read: they would run code of that folder's choice. Most
# commands have ended before compiled machine code would pay.
cli() {
  bundle --compile --no-compile-autoload-dotenv --no-compile-autoload-bunfig --compile-jit-policy=10 \
    --bytecode --minify --format=esm --splitting "$@" src/cli/main.ts --outfile "$work/gantry"
}
cli
# What commands need to get going is laid out side by side: without an engine they get as far as asking for it.
for command in "ps" "run --rm image" "exec container true" "pull image" "images" "inspect container" "logs container"; do
  # shellcheck disable=SC2086 # words of a command
  env -u DOCKER_CONTEXT -u GANTRY_CONTEXT DOCKER_CONFIG="$work" GANTRY_HOST="unix://$work/none.sock" \
    BUN_BYTECODE_ORDER_OUT="$work/order-${command%% *}" "$work/gantry" $command >"$work/log" 2>&1 || :
done
orders=$(find "$work" -name 'order-*' | sort | paste -sd,)
[ -z "$orders" ] || cli --bytecode-order="$orders"
what="the engine"
bundle --target=node --external koffi --root src --outdir "$work/js" src/engine/main.ts src/runtime/supervisor/main.ts src/runtime/shipper/main.ts src/lazy/helper/main.ts src/images/layers/worker.ts src/images/packing/worker.ts src/build/files/worker.ts src/build/attest/scan/worker.ts

mv "$work/gantry" dist/gantry
rm -rf dist/engine dist/runtime dist/images dist/lazy dist/build dist/cache
mv "$work/js/engine" "$work/js/runtime" "$work/js/images" "$work/js/lazy" "$work/js/build" dist/
# Node keeps the compiled form of the bundles here, made by the first start.
mkdir -p dist/cache
NODE_COMPILE_CACHE=dist/cache "$node" dist/engine/main.js --version >"$work/log" 2>&1 || { cat "$work/log" >&2; fail "the engine that was built does not start: see above."; }
# The stamp is as old as the start of the build: a file saved meanwhile makes the next build.
mv "$work/.built" dist/.built
step_done
