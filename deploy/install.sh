#!/bin/sh
# Installs edgeproxy under /opt/edgeproxy with its units, or the version of this checkout over an older one.
#   install.sh [--root DIR] [--uninstall]     data under /var/lib/edgeproxy and /etc/edgeproxy stay in either case
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=""
action=install
while [ $# -gt 0 ]; do
  case "$1" in
    --root) root=${2:?--root takes a directory}; shift ;;
    --uninstall) action=uninstall ;;
    *) echo "usage: install.sh [--root DIR] [--uninstall], not $1" >&2; exit 2 ;;
  esac
  shift
done
units="$root/etc/systemd/system"

running() { [ -z "$root" ] && [ -d /run/systemd/system ]; }

if [ "$action" = uninstall ]; then
  if running; then systemctl disable --now edgeproxy.socket edgeproxy.service || true; fi
  rm -f "$units/edgeproxy.service" "$units/edgeproxy.socket"
  rm -rf "$root/opt/edgeproxy"
  if running; then systemctl daemon-reload; fi
  echo "removed; the cache in /var/lib/edgeproxy and the configuration in /etc/edgeproxy are left"
  exit 0
fi

python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "edgeproxy needs Python 3.11 or newer" >&2; exit 1; }
python3 -c 'import ensurepip, venv' 2>/dev/null || { echo "install python3-venv first" >&2; exit 1; }
mkdir -p "$root/opt" "$root/etc/edgeproxy" "$units"
[ -x "$root/opt/edgeproxy/bin/python" ] || python3 -m venv "$root/opt/edgeproxy"
"$root/opt/edgeproxy/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade "$here/.."
[ -e "$root/etc/edgeproxy/edgeproxy.toml" ] || cp "$here/edgeproxy.toml" "$root/etc/edgeproxy/edgeproxy.toml"
"$root/opt/edgeproxy/bin/edgeproxy" check -c "$root/etc/edgeproxy/edgeproxy.toml" >/dev/null
cp "$here/systemd/edgeproxy.service" "$here/systemd/edgeproxy.socket" "$units/"
if running; then
  systemctl daemon-reload
  systemctl enable --now edgeproxy.socket
  systemctl enable edgeproxy.service
  systemctl restart edgeproxy.service
fi
echo "installed; edgeproxy mirror CLIENT --url http://$(hostname):5000 --write sets up a client"
