#!/bin/sh
# Installs what only tests need: clients of the Docker API by others, shells, a registry and its clients by others, a
# host's firewall (it stays off), a file system that shares blocks; the compilers and interpreters that
# test/base-recipes.ts makes images of; and iperf3, for the bench's throughput. Tests skip
# what is not there, so nothing here fails; what could not be had is tried again a day later, or at once after
# `rm dist/.test-packages`. No service is started.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd -P)
cd "$root"
. scripts/progress.sh

missing=
[ -e /usr/lib/python3/dist-packages/docker/__init__.py ] || missing="$missing python3-docker"
for program in docker-compose zsh fish docker-registry skopeo buildah podman iperf3; do
  command -v "$program" >/dev/null || missing="$missing $program"
done
# What test/projects are built by. A meta package's own files are not needed, so the versioned ones are looked for.
has() { [ -e "$1" ]; }
has /usr/lib/python3/dist-packages/pip/__init__.py || missing="$missing python3-pip"
has /usr/lib/python3/dist-packages/wheel/__init__.py || missing="$missing python3-wheel"
has /usr/lib/python3*/ensurepip/__init__.py || missing="$missing python3-venv"
has /usr/lib/go-*/bin/go || missing="$missing golang-go"
has /usr/lib/jvm/java-*-openjdk-*/bin/javac || missing="$missing default-jdk-headless"
has /usr/bin/php[0-9]* || missing="$missing php-cli"
has /usr/bin/ruby[0-9]* || missing="$missing ruby"
has /usr/bin/*-linux-gnu-gcc-[0-9]* || missing="$missing gcc"
has /usr/include/stdio.h || missing="$missing libc6-dev"
for program in make perl git; do
  command -v "$program" >/dev/null || missing="$missing $program"
done
[ -x /usr/sbin/ufw ] || missing="$missing ufw"
[ -x /usr/sbin/mkfs.xfs ] || missing="$missing xfsprogs"
[ -n "$missing" ] || exit 0
[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || exit 0
mkdir -p dist
[ -z "$(find dist/.test-packages -mmin -1440 2>/dev/null)" ] || exit 0
: >dist/.test-packages

step "test: installing$missing"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp "${TMPDIR:-/tmp}/gantry-setup-XXXXXX")
# What Debian's packages ask before they start a service; a machine may have an answer of its own, which comes back.
policy=/usr/sbin/policy-rc.d
kept=$policy.kept-by-gantry
put_back() {
  rm -f "$log"
  if grep -qs "by gantry's tests" "$policy"; then rm -f "$policy"; fi
  if [ -e "$kept" ]; then mv -f "$kept" "$policy"; fi
}
trap put_back EXIT
trap 'exit 1' HUP INT TERM
# A run that was killed may have left its own.
put_back
if [ -e "$policy" ]; then mv "$policy" "$kept"; fi
printf '#!/bin/sh\n# Written by gantry'"'"'s tests while they install packages.\nexit 101\n' >"$policy"
chmod 755 "$policy"
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
# Nor are they at the next boot.
units=
case $missing in *docker-registry*) units=docker-registry.service ;; esac
case $missing in
  *podman*) units="$units podman.socket podman.service podman-restart.service podman-auto-update.service podman-auto-update.timer" ;;
esac
case $missing in *ufw*) units="$units ufw.service" ;; esac
case $missing in *iperf3*) units="$units iperf3.service" ;; esac
for unit in $units; do
  ! command -v systemctl >/dev/null || systemctl --quiet disable "$unit" >"$log" 2>&1 || true
done
step_done
