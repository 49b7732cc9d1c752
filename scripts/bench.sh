#!/bin/sh
# Sets up what is missing and measures Gantry beside Docker (scripts/bench.ts). --install-peers installs Docker.
set -eu
cd "$(dirname "$0")/.."
sh scripts/setup.sh
case " $* " in
  *" --install-peers "*)
    command -v dockerd >/dev/null || {
      apt-get install -qq -y docker.io >/dev/null 2>&1 || { apt-get update -qq && apt-get install -qq -y docker.io >/dev/null; }
      # The package starts a daemon of its own, which would share the machine with what is measured.
      [ ! -d /run/systemd/system ] || systemctl stop docker.service docker.socket containerd.service
    }
    ;;
esac
for node in node_modules/node-linux-*/bin/node; do break; done
exec "$node" --disable-warning=ExperimentalWarning scripts/bench.ts "$@"
