#!/bin/sh
# Installs the Debian packages that a task needs, or says which: hack/setup.sh demo|test|images|bench|fuzz
set -eu
export DEBIAN_FRONTEND=noninteractive PATH="$PATH:/usr/sbin:/sbin"

# One `probe=package` each; a probe is a command, or a file if it has a slash.
build="cc=gcc /usr/include/stdlib.h=libc6-dev"
demo="$build iptables-nft=iptables iptables-legacy=iptables ip=iproute2 curl=curl jq=jq unshare=util-linux"
case "${1:-}" in
    demo) wanted=$demo ;;
    test) wanted="$demo nft=nftables setpriv=util-linux flock=util-linux nsenter=util-linux pgrep=procps
        dnsmasq=dnsmasq-base haproxy=haproxy nginx=nginx tinyproxy=tinyproxy-bin prlimit=util-linux
        /lib/systemd/systemd=systemd /usr/share/dbus-1/system.conf=dbus strace=strace
        /usr/share/doc/python3-venv=python3-venv wget=wget ruby=ruby /usr/bin/python3=python3
        /usr/lib/python3/dist-packages/requests/__init__.py=python3-requests" ;;
    images) wanted="$build iptables-nft=iptables ip=iproute2 unshare=util-linux setpriv=util-linux setcap=libcap2-bin
        curl=curl jq=jq"
        # Any engine that works will do; podman needs no daemon.
        for engine in docker podman buildah; do $engine info >/dev/null 2>&1 && found=yes; done
        [ -n "${found:-}" ] || wanted="$wanted podman=podman runc=runc" ;;
    bench) wanted="$demo wrk=wrk strace=strace pgrep=procps /usr/bin/python3=python3 haproxy=haproxy
        /usr/lib/nginx/modules/ngx_stream_module.so=libnginx-mod-stream nginx=nginx iperf3=iperf3
        setpriv=util-linux /usr/share/doc/python3-venv=python3-venv" ;;
    fuzz) wanted="$build c++=g++" ;;
    *) echo "usage: $0 demo|test|images|bench|fuzz" >&2; exit 2 ;;
esac

if ! command -v cargo >/dev/null; then
    echo "cargo is not in PATH. With sudo, hand yours on: sudo env \"PATH=\$PATH\" make $1" >&2
    exit 1
fi
missing=
for pair in $wanted; do
    probe=${pair%%=*} package=${pair#*=}
    case "$probe" in
        */*) [ -e "$probe" ] ;;
        *) command -v "$probe" >/dev/null ;;
    esac || case " $missing " in *" $package "*) ;; *) missing="$missing $package" ;; esac
done
[ -n "$missing" ] || exit 0

install="apt-get install -y --no-install-recommends$missing"
if ! command -v apt-get >/dev/null; then
    echo "These Debian packages, or what they are called here, are missing:$missing" >&2
    exit 1
fi
if [ "$(id -u)" != 0 ]; then
    printf 'Some packages are missing. Install them, then run this again:\n\n    sudo %s\n\n' "$install" >&2
    exit 1
fi
echo "Installing:$missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
{ apt-get update && $install; } >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
