#!/bin/bash
# Starts each image once, with a read-only root and only the capabilities that it is meant to have:
# images/check.sh ENGINE VERSION CONTEXTS
set -euo pipefail
engine=$1 version=$2 contexts=$3
export PATH="$PATH:/usr/sbin:/sbin"
agent=apiserver-proxy-sidecar webhook=apiserver-proxy-pod-webhook proxy=apiserver-proxy
netns=image-check-$$
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; ip netns del "$netns" 2>/dev/null || true; rm -rf "$work"' EXIT
fail() { echo "!! $*" >&2; cat "$work"/*.log >&2; exit 1; }
inside() { ip netns exec "$netns" "$@"; }

# start_line NAME CAPABILITY-OR-NONE USER ARGS…: leaves in $command the line that starts the image in the network namespace,
# with a read-only root, in the foreground. file=CAPABILITY is one that the container may have, and the binary brings.
start_line() {
    local name=$1 capability=$2 user=$3 root=$contexts/agent/rootfs from_file=
    shift 3
    case $capability in file=*) from_file=yes capability=${capability#file=} ;; esac
    local hardened=(--rm --read-only)
    if [ "$engine$from_file" = podmanyes ]; then
        # What podman adds is ambient, and the binary would not need its own. Kubernetes makes nothing ambient.
        hardened+=(--cap-drop="$(all_but "$capability")")
    else
        hardened+=(--cap-drop=ALL)
        [ "$capability" = none ] || hardened+=(--cap-add="$capability")
    fi
    hardened+=("${options[@]}")
    case $engine in
        podman)
            hardened+=(--network="ns:/run/netns/$netns" --read-only-tmpfs=false)
            command=("${podman[@]}" run "${limits[@]}" "${hardened[@]}" "$name:$version" "$@")
            ;;
        docker) command=(docker run --network=none "${hardened[@]}" "$name:$version" "$@") ;;
        *) # Unpacked, with SYS_CHROOT beside the capability, for the step into it.
            case $name in "$webhook") root=$contexts/webhook/rootfs ;; "$proxy") root=$contexts/proxy/rootfs ;; esac
            local kept=-all,+sys_chroot
            [ "$capability" = none ] || kept+=,+${capability,,}
            local become=(setpriv --reuid="${user%:*}" --regid="${user%:*}" --clear-groups --no-new-privs
                --bounding-set="$kept" --inh-caps="$kept" --ambient-caps="$kept" chroot)
            if [ -n "$from_file" ]; then
                become=(setpriv --bounding-set="$kept,+setuid,+setgid" --inh-caps=-all)
                [ ${#options[@]} = 0 ] || become+=(--no-new-privs)
                become+=(chroot --userspec="$user")
            fi
            # shellcheck disable=SC2016 # expanded by the inner shell
            command=(ip netns exec "$netns" unshare --mount sh -c '
                root=$1 && shift
                mount --bind "$root" "$root" && mount -o remount,ro,bind "$root"
                mount -t proc proc "$root/proc" && mount -t tmpfs tmpfs "$root/dev"
                touch "$root/dev/null" && mount --bind /dev/null "$root/dev/null"
                exec "$@"' sh "$root" "${become[@]}" "$root" "/$name" "$@")
            ;;
    esac
}

# all_but CAPABILITY: the others that engines give by default, now or in earlier versions.
all_but() {
    printf '%s\n' AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE NET_RAW SETFCAP SETGID SETPCAP \
        SETUID SYS_CHROOT | grep -vx "$1" | paste -sd,
}
# no-new-privileges for the next start_line, or nothing.
options=()

ip netns add "$netns"
inside ip link set lo up
podman=(podman) limits=()
start_line $agent none 0:0 --version
if [ "$engine" = podman ] && ! "${command[@]}" >/dev/null 2>&1; then
    # Where no systemd runs, and limits can't be raised.
    podman=(podman --cgroup-manager=cgroupfs --runtime runc)
    limits=(--ulimit nofile=1024:20000 --ulimit nproc=1000:1000)
fi

# A node has rules of others, with extensions that ours don't use.
for program in iptables ip6tables; do
    inside $program -A INPUT -m comment --comment "kubernetes firewall" -m conntrack --ctstate INVALID -j DROP
    inside $program -A OUTPUT -m mark --mark 0x8000/0x8000 -j DROP
    inside $program -t raw -A OUTPUT -m comment --comment "of another agent" -p udp -m multiport --dports 53 -j NOTRACK
done
addresses=--ip-address=10.96.0.2,fd00::2
# count PROGRAM: rules of ours that it lists. nft lists two a line in none of its forms, so one line is one rule.
count() { inside "$@" 2>/dev/null | grep -cE 'port 443 (counter packets|-j)' || true; }
has_address() { inside ip -oneline addr show dev lo | grep -F ' 10.96.0.2/32 ' >/dev/null; }
until_true() {
    for _ in $(seq 200); do "$@" && return; sleep 0.05; done
    fail "waited in vain for: $*"
}
is_healed() { [ "$(count iptables-save)" = 5 ] && [ "$(count ip6tables-save)" = 5 ] && has_address; }
is_healed_by_nft() { [ "$(count nft list ruleset)" = 10 ] && has_address; }

start_line $agent NET_ADMIN 0:0 $addresses --setup-iptables --daemon=false
"${command[@]}" 2>"$work/agent.log" || fail "the agent's image did not do its job"
[ "$engine" = docker ] || is_healed || fail "not everything is in place"
echo "$agent did its job once, read-only, with NET_ADMIN alone, among rules of others"

# The same as a daemon: what is taken away comes back, and SIGTERM takes everything away.
daemon() {
    local healed=$1
    shift
    start_line $agent NET_ADMIN 0:0 $addresses --setup-iptables --sync-interval=1h --cleanup "$@"
    # What the last one said must not be taken for this one's.
    : >"$work/agent.log"
    "${command[@]}" 2>"$work/agent.log" &
    local running=$!
    until_true grep -q 'in place, watching' "$work/agent.log"
    if [ "$engine" != docker ]; then
        inside ip addr del 10.96.0.2/32 dev lo
        for table in $(inside nft list tables | sed -n 's/^table inet //p'); do inside nft flush table inet "$table"; done
        inside iptables -t raw -F OUTPUT
        inside iptables -t raw -F PREROUTING
        until_true "$healed"
    fi
    kill -TERM "$running"
    wait "$running" || fail "the agent's image ended with exit code $?"
    [ "$engine" = docker ] || ! has_address || fail "the address is still there"
    [ "$engine" = docker ] || [ "$(count nft list ruleset)" = 0 ] || fail "rules are still there"
}
daemon is_healed
daemon is_healed_by_nft --rules-backend=nftables
echo "$agent kept everything in place and took it away, with iptables and with nftables"

start_line $webhook none 65532:65532 --apiserver-fqdn=foo.bar. --shutdown-delay=0
"${command[@]}" >"$work/introduction.log" 2>"$work/webhook.log" &
served=$!
until grep -q '] serving' "$work/webhook.log"; do
    kill -0 $served 2>/dev/null || fail "the webhook's image did not start"
    sleep 0.05
done
if [ "$engine" != docker ]; then
    patch=$(inside curl -sk -H "Content-Type: application/json" -d @"$(dirname "$0")/../testdata/admission.json" \
        https://localhost:9443/webhook/pod-apiserver-env | jq -r .response.patch | base64 -d | jq length)
    [ "$patch" = 2 ] || fail "the webhook's image did not answer"
fi
echo "$webhook served read-only, as user 65532, with no capability"

# The proxy, with the webhook as its upstream; the address comes later than the proxy. A second one takes the socket over.
options=(--security-opt=no-new-privileges)
start_line $proxy file=NET_BIND_SERVICE 65532:65532 --listen=10.96.0.2:443 --upstream=127.0.0.1:9443
! "${command[@]}" 2>"$work/refused.log" || fail "the proxy ended well where it may not listen"
grep -q 'need CAP_NET_BIND_SERVICE' "$work/refused.log" || fail "a binary with a capability took no notice of no_new_privs"
rm "$work/refused.log"
options=()
# start_proxy LOG: until it accepts connections.
start_proxy() {
    start_line $proxy file=NET_BIND_SERVICE 65532:65532 --listen=10.96.0.2:443 --upstream=127.0.0.1:9443 --access-log=all
    "${command[@]}" 2>"$work/$1.log" &
    carries=$!
    until grep -qs 'accepting connections' "$work/$1.log"; do
        kill -0 $carries 2>/dev/null || fail "the proxy's image did not start"
        sleep 0.05
    done
}
carried() { inside curl -sk --max-time 5 -o /dev/null https://10.96.0.2/webhook/pod-apiserver-env; }
# rights: what the status of the proxy says of them.
rights() {
    local pid
    for pid in $(ip netns pids "$netns"); do
        [ "$(basename "$(readlink "/proc/$pid/exe")")" != $proxy ] ||
            awk '/^(Uid|CapEff|CapAmb|NoNewPrivs):/ { printf "%s%s ", $1, $2 }' "/proc/$pid/status"
    done
}
start_proxy proxy
first=$carries
if [ "$engine" != docker ]; then
    inside ip addr add 10.96.0.2/32 dev lo
    carried || fail "the proxy's image carried nothing"
    [ "$(rights)" = "Uid:65532 CapEff:0000000000000400 CapAmb:0000000000000000 NoNewPrivs:0 " ] ||
        fail "the proxy has other rights than it is meant to have: $(rights)"
    start_proxy second
    grep -q 'taken_over=true' "$work/second.log" || fail "the second proxy took nothing over"
fi
kill -TERM "$first"
wait "$first" || fail "the proxy's image ended with exit code $?"
if [ "$engine" != docker ]; then
    carried || fail "the second proxy's image carried nothing"
    kill -TERM "$carries"
    wait "$carries" || fail "the second proxy's image ended with exit code $?"
fi
kill -TERM "$served"
wait "$served" || fail "the webhook's image ended with exit code $?"
echo "$proxy carried TLS from port 443 and handed over, read-only, as user 65532, with NET_BIND_SERVICE of the file alone"
