#!/bin/sh
# Takes away what install-system.sh installed. Images, containers and volumes in /var/lib/gantry stay, unless --purge.
set -eu
cd "$(dirname "$0")/.."
. scripts/progress.sh
[ "$(id -u)" = 0 ] || fail "uninstalling needs root: run this as root."
purge=
case ${1-} in
  '') ;;
  --purge) purge=1 ;;
  *) fail "unknown argument $1: the only one is --purge, which removes /var/lib/gantry, the log and the links of npm start as well." ;;
esac

dest=${DESTDIR-}
if [ -z "$dest" ]; then
  sh scripts/stop.sh
  [ ! -d /run/systemd/system ] || [ ! -e /etc/systemd/system/gantry.service ] || systemctl disable --quiet gantry.service
fi
for name in gantry gantryd; do
  case $(readlink "$dest/usr/bin/$name" 2>/dev/null) in ../lib/gantry/*) rm "$dest/usr/bin/$name" ;; esac
done
rm -rf "$dest/usr/lib/gantry" "$dest/etc/systemd/system/gantry.service"
[ -n "$dest" ] || [ ! -d /run/systemd/system ] || systemctl daemon-reload
if [ -n "$purge" ]; then
  # A mount that is left below would lose its files to rm.
  if grep -Eq " $dest/(var/lib|run)/gantry[ /]" /proc/self/mountinfo; then
    fail "something is still mounted below $dest/var/lib/gantry or $dest/run/gantry: unmount it, then run this again."
  fi
  rm -rf "$dest/var/lib/gantry" "$dest/run/gantry" "$dest/var/log/gantry" "$dest/etc/gantry"
  # What `npm start` linked to a checkout, this one or another.
  for name in gantry gantryd; do
    case $(readlink "$dest/usr/local/bin/$name" 2>/dev/null) in
      */dist/gantry | */bin/gantryd) rm "$dest/usr/local/bin/$name" ;;
    esac
  done
  echo "uninstall: done; nothing of Gantry is left"
else
  echo "uninstall: done; images, containers and volumes are kept in $dest/var/lib/gantry (--purge removes them)"
fi
