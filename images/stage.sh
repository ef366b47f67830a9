#!/bin/bash
# Fills a build context for each image: images/stage.sh FOLDER-WITH-BINARIES CONTEXTS
# The agent's gets the iptables programs of this machine with the libraries they load, so that no registry and no
# package manager is needed inside a build.
set -euo pipefail
bin=$1 contexts=$2
export PATH="$PATH:/usr/sbin:/sbin"

rm -rf "$contexts/agent" "$contexts/webhook" "$contexts/proxy"
root=$contexts/agent/rootfs
# Where a container runtime mounts things, dev and proc among them.
mkdir -p "$root"/{dev,proc,run,usr/sbin} "$contexts"/{webhook,proxy}/rootfs/{dev,proc}
install -m 0755 "$bin/apiserver-proxy-pod-webhook" "$contexts/webhook/rootfs/"
install -m 0755 "$bin/apiserver-proxy-sidecar" "$root/"
install -m 0755 "$bin/apiserver-proxy" "$contexts/proxy/rootfs/"
# To listen below port 1024 as any user. Who is not root writes it in a user namespace of its own, where builds without
# root read it.
as_root=()
[ "$(id -u)" = 0 ] || as_root=(unshare --map-root-user)
"${as_root[@]}" setcap cap_net_bind_service=+ep "$contexts/proxy/rootfs/apiserver-proxy"

# Copies a file to the same place in the image, as what its name leads to.
copy() { install -D -m "$1" "$(realpath "$2")" "$root$2"; }

for multi in xtables-nft-multi xtables-legacy-multi; do
    copy 0755 "/usr/sbin/$multi"
done
for family in iptables ip6tables; do
    ln -s xtables-nft-multi "$root/usr/sbin/$family"
    ln -s xtables-nft-multi "$root/usr/sbin/$family-nft"
    ln -s xtables-legacy-multi "$root/usr/sbin/$family-legacy"
done

# All extensions, not only those of our own rules: iptables-nft fails on a chain that holds a rule of anybody's
# whose match or target it has no extension for, and every node has comment, mark and conntrack.
extensions=$(dirname "$(find /usr/lib /usr/lib64 -path '*/xtables/libxt_tcp.so' -print -quit)")
for extension in "$extensions"/lib{xt,ipt,ip6t}_*.so; do
    if [ -L "$extension" ]; then
        mkdir -p "$root$extensions"
        cp -P "$extension" "$root$extensions/"
    else
        copy 0644 "$extension"
    fi
done
ldd /usr/sbin/xtables-{nft,legacy}-multi "$extensions"/lib{xt,ipt,ip6t}_*.so |
    awk '/=> \// { print $3 } /^\t\/.*ld-linux/ { print $1 }' | sort -u |
    while read -r library; do copy 0755 "$library"; done

# What the licences of these ask for.
for package in iptables libc6 libmnl0 libnftnl11 libxtables12 libip4tc2 libip6tc2; do
    if [ -e "/usr/share/doc/$package/copyright" ]; then copy 0644 "/usr/share/doc/$package/copyright"; fi
done
