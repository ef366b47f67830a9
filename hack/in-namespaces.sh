#!/bin/sh
# Runs a command in a network and mount namespace of its own, as root there: hack/in-namespaces.sh COMMAND…
# The loopback device is up, and /run is private, so that the xtables lock and the rules are nobody else's.
set -eu
export PATH="$PATH:/usr/sbin:/sbin"
prepare='mount -t tmpfs tmpfs /run && ip link set lo up && exec "$@"'
if [ "$(id -u)" = 0 ]; then
    exec unshare --net --mount sh -c "$prepare" sh "$@"
fi
if ! unshare --user --map-root-user --net true 2>/dev/null; then
    echo "This system does not let an ordinary user have namespaces. Run it with sudo: sudo env \"PATH=\$PATH\" make ${MAKE_TARGET:-demo}" >&2
    exit 1
fi
exec unshare --user --map-root-user --net --mount sh -c "$prepare" sh "$@"
