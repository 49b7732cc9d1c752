#!/bin/sh
# Installs what only tests need: clients of the Docker API by others, shells. Tests skip what is not there, so nothing here
# fails; what could not be had is tried again a day later, or at once after `rm dist/.test-packages`.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd -P)
cd "$root"
. scripts/progress.sh

missing=
[ -e /usr/lib/python3/dist-packages/docker/__init__.py ] || missing="$missing python3-docker"
for program in docker-compose zsh fish; do
  command -v "$program" >/dev/null || missing="$missing $program"
done
[ -n "$missing" ] || exit 0
[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || exit 0
mkdir -p dist
[ -z "$(find dist/.test-packages -mmin -1440 2>/dev/null)" ] || exit 0
: >dist/.test-packages

step "test: installing$missing"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp "${TMPDIR:-/tmp}/gantry-setup-XXXXXX")
trap 'rm -f "$log"' EXIT
# One at a time: what the one lacks must not keep the other away. Without what they recommend, which is Docker's engine.
install() {
  timeout 300 apt-get install -qq -y --no-install-recommends -o Acquire::Retries=1 -o Acquire::http::Timeout=20 "$1" >"$log" 2>&1
}
refreshed=
for package in $missing; do
  install "$package" && continue
  if [ -z "$refreshed" ]; then
    refreshed=1
    timeout 300 apt-get update -qq -o Acquire::http::Timeout=20 >"$log" 2>&1 || true
    install "$package" && continue
  fi
  echo "test: $package can't be had, its tests are skipped: $(tail -n 1 "$log")"
done
step_done
