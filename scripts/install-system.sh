#!/bin/sh
# Installs Gantry for the whole machine, independent of this checkout: /usr/lib/gantry, links in /usr/bin, and a
# systemd unit. DESTDIR installs below another root and starts nothing.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd -P)
cd "$root"
. scripts/progress.sh
[ "$(id -u)" = 0 ] || fail "installing for the whole machine needs root: run this as root."
sh scripts/setup.sh

dest=${DESTDIR-}
for link in "$dest/usr/bin/gantry" "$dest/usr/bin/gantryd"; do
  [ ! -e "$link" ] || [ -L "$link" ] || fail "$link is a file of something else: remove it or its package first."
done
lib=$dest/usr/lib/gantry
step "install: copying to $lib"
rm -rf "$lib.new"
mkdir -p "$lib.new/node_modules/@koromix" "$lib.new/bin" "$lib.new/dist" "$dest/usr/bin" "$dest/etc/systemd/system"
cp package.json "$lib.new/"
cp bin/gantryd "$lib.new/bin/"
cp -R dist/gantry dist/engine dist/runtime dist/images dist/lazy dist/build "$lib.new/dist/"
cp -R node_modules/koffi "$lib.new/node_modules/"
cp -R node_modules/@koromix/koffi-linux-* "$lib.new/node_modules/@koromix/"
for package in node_modules/node-linux-*; do
  mkdir -p "$lib.new/$package/bin"
  cp "$package/bin/node" "$lib.new/$package/bin/"
done
chown -R 0:0 "$lib.new"
# What runs keeps its open files; what starts from now on finds the new ones.
rm -rf "$lib.old"
[ ! -e "$lib" ] || mv "$lib" "$lib.old"
mv "$lib.new" "$lib"
rm -rf "$lib.old"
NODE_COMPILE_CACHE=$lib/dist/cache "$lib/bin/gantryd" --version
for name in gantry gantryd; do
  link=$dest/usr/bin/$name
  case $name in gantry) target=../lib/gantry/dist/gantry ;; gantryd) target=../lib/gantry/bin/gantryd ;; esac
  ln -sfn "$target" "$link"
done
step_done

cat >"$dest/etc/systemd/system/gantry.service" <<'UNIT'
[Unit]
Description=Gantry container engine
After=network-online.target nss-lookup.target
Wants=network-online.target

[Service]
Type=notify
# Ready is when it has taken up the containers of before; how long that takes depends on how many there are.
TimeoutStartSec=infinity
ExecStart=/usr/bin/gantryd
ExecReload=/bin/kill -HUP $MAINPID
Restart=always
RestartSec=1
# Containers and their supervisor outlive the engine: only the engine itself is ended, and its cgroups are its own.
KillMode=process
Delegate=yes
LimitNOFILE=1048576
LimitNPROC=infinity
LimitCORE=infinity
TasksMax=infinity
OOMScoreAdjust=-500

[Install]
WantedBy=multi-user.target
UNIT

if [ -n "$dest" ]; then
  echo "install: done below $dest; nothing was started"
elif [ -d /run/systemd/system ]; then
  systemctl daemon-reload
  systemctl enable --quiet gantry.service
  systemctl restart gantry.service
  echo "install: done; gantry.service runs now and at every boot (systemctl status gantry)"
else
  echo "install: done; this machine does not run systemd: start the engine with 'gantryd &', at boot by its own means"
fi
