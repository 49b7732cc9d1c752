#!/bin/sh
# Makes a fresh checkout ready: the distribution's packages that are missing, the npm packages of the lock file, and
# dist/. Does nothing, quickly, when all of that is there and newer than what it was made of.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd -P)
cd "$root"
. scripts/progress.sh

[ "$(uname -s)" = Linux ] || fail "Gantry runs on Linux only: use a Linux machine or a virtual one."
case $(uname -m) in
  x86_64) cpu=x64 bun_cpu=x64 ;;
  aarch64 | arm64) cpu=arm64 bun_cpu=aarch64 ;;
  *) fail "there is no Node build for $(uname -m): use an x86_64 or aarch64 machine." ;;
esac

# Names the packages whose files are missing, by shell builtins alone: the check runs before every start and test.
missing_packages() {
  missing=
  needs_program crun crun
  needs_program mmdebstrap mmdebstrap
  # Debian's other busybox has the same name and needs libraries that its image would not have.
  if [ -d /var/lib/dpkg/info ]; then
    needs_file busybox-static /var/lib/dpkg/info/busybox-static.list
  else
    needs_program busybox busybox-static
  fi
  needs_program xz xz-utils
  needs_program zstd zstd
  needs_program flock util-linux
  needs_file libnftables1 /usr/lib/*/libnftables.so.1 /lib/*/libnftables.so.1
  needs_file golang-github-containers-common /usr/share/containers/seccomp.json
  command -v tini >/dev/null || command -v catatonit >/dev/null || missing="$missing tini"
  command -v node >/dev/null || missing="$missing nodejs"
  command -v npm >/dev/null || missing="$missing npm ca-certificates"
}

needs_program() {
  command -v "$1" >/dev/null || [ -x "/usr/sbin/$1" ] || missing="$missing $2"
}

needs_file() {
  package=$1
  shift
  for file; do
    [ ! -e "$file" ] || return 0
  done
  missing="$missing $package"
}

install_packages() {
  command -v apt-get >/dev/null ||
    fail "this machine has no apt-get: install what provides these Debian packages yourself, then run this again:$missing"
  [ "$(id -u)" = 0 ] || fail "packages are missing ($(echo $missing)) and only root can install them: run this as root."
  step "setup: installing$missing"
  export DEBIAN_FRONTEND=noninteractive
  # Lists that are there already are tried first: refreshing them is the slow part.
  # shellcheck disable=SC2086
  if ! apt-get install -qq -y --no-install-recommends $missing >"$log" 2>&1; then
    apt-get update -qq >"$log" 2>&1 ||
      { tail -n 5 "$log" >&2; fail "apt-get update failed: check the network and the package sources of this machine."; }
    apt-get install -qq -y --no-install-recommends $missing >"$log" 2>&1 ||
      { tail -n 15 "$log" >&2; fail "apt-get could not install$missing: see its words above."; }
  fi
  step_done
}

install_modules() {
  step "setup: installing the npm packages of package-lock.json"
  NODE_OPTIONS="--require=$root/scripts/npm-node.cjs" \
    npm ci --no-audit --no-fund --ignore-scripts --loglevel=error >"$log" 2>&1 ||
    { tail -n 15 "$log" >&2; fail "npm could not install the packages: check that the npm registry can be reached (npm ping)."; }
  [ -x "node_modules/node-linux-$cpu/bin/node" ] && [ -x "node_modules/@oven/bun-linux-$bun_cpu/bin/bun" ] ||
    fail "npm left out the Node or Bun package for this machine: run it without --omit=optional (npm config get omit)."
  step_done
}

# True if what node_modules holds is what the lock file names.
modules_current() {
  node="node_modules/node-linux-$cpu/bin/node"
  [ -x "$node" ] && [ -e node_modules/.package-lock.json ] || return 1
  [ dist/.modules -nt package-lock.json ] && [ dist/.modules -nt node_modules/.package-lock.json ] && return 0
  "$node" scripts/installed.ts && mkdir -p dist && : >dist/.modules
}

log=$(mktemp "${TMPDIR:-/tmp}/gantry-setup-XXXXXX")
trap 'rm -f "$log"' EXIT

did=
missing_packages
if [ -n "$missing" ]; then
  install_packages
  missing_packages
  [ -z "$missing" ] || fail "still missing after the installation:$missing"
  did=1
fi
if ! modules_current; then
  install_modules
  mkdir -p dist
  : >dist/.modules
  did=1
fi
if ! sh scripts/build.sh --check; then
  sh scripts/build.sh
  did=1
fi
[ -n "$did" ] || echo "setup: nothing to do"
