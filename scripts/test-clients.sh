#!/bin/sh
# Fetches the plugins docker-buildx and docker-compose of a newer Debian into dist/test-clients/cli-plugins, for tests that
# build through them: nothing is installed. By apt, from the mirror that the machine is configured with, with lists and
# caches of its own. Where they can't be had nothing is said, and their tests are skipped; it is tried again a day later,
# or at once after `rm -r dist/test-clients`.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd -P)
cd "$root"
. scripts/progress.sh

folder=$root/dist/test-clients
plugins=$folder/cli-plugins
[ ! -e "$plugins/docker-compose" ] || exit 0
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || exit 0
[ -z "$(find "$folder/tried" -mmin -1440 2>/dev/null)" ] || exit 0
mkdir -p "$folder"
: >"$folder/tried"

# Debian's own archive, not that of updates for its security, and not another distribution's.
mirror=$(apt-get indextargets --format '$(ORIGIN) $(LABEL) $(COMPONENT) $(SITE)' 'Created-By: Packages' 2>/dev/null |
  sed -n 's/^Debian Debian main //p' | head -n 1)
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -n "$mirror" ] && [ -e "$keyring" ] || exit 0

step "test: fetching newer clients"
work=$(mktemp -d "$folder/work-XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/empty" "$work/tree" "$work/cli-plugins"
cat >"$work/sources.list" <<LIST
deb [signed-by=$keyring] $mirror testing main
LIST
cat >"$work/apt.conf" <<CONF
Dir::Etc::sourcelist "$work/sources.list";
Dir::Etc::sourceparts "$work/empty";
Dir::State::lists "$work/lists";
Dir::Cache "$work/cache";
APT::Sandbox::User "";
APT::Architectures { "$(dpkg --print-architecture)"; };
Acquire::Languages "none";
Acquire::Retries "0";
Acquire::http::Timeout "10";
Acquire::https::Timeout "10";
CONF
export APT_CONFIG="$work/apt.conf"
fetch() {
  timeout 60 apt-get update -qq && cd "$work" && timeout 60 apt-get download -qq docker-buildx docker-compose
}
(fetch) >"$work/log" 2>&1 || { step_done; exit 0; }
for package in "$work"/*.deb; do dpkg-deb -x "$package" "$work/tree"; done
for name in docker-buildx docker-compose; do
  plugin=$(find "$work/tree" -type f -name "$name" -path '*cli-plugins*' | head -n 1)
  # They may be of a newer libc than the machine's.
  { [ -n "$plugin" ] && DOCKER_CONFIG=$work/empty "$plugin" version; } >"$work/log" 2>&1 || { step_done; exit 0; }
  mv "$plugin" "$work/cli-plugins/"
done
rm -rf "$plugins"
mv "$work/cli-plugins" "$plugins"
step_done
