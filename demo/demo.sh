#!/bin/bash
# The main job of all programs, on the real kernel and over real TLS: demo/demo.sh FOLDER-WITH-BINARIES
# Run by `make demo` in namespaces of its own; changes nothing outside them. Ends non-zero at the first surprise.
set -euo pipefail
bin=$(realpath "$1")
testdata=$(realpath "$(dirname "$0")/../testdata")
work=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; rm -rf "$work"' EXIT

ADDRESS=10.96.0.2

title() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
say() { printf '   %s\n' "$*"; }
fail() { printf '\n!! %s\n' "$*" >&2; sed 's/^/!! log: /' "$work"/*.log >&2; exit 1; }
# Waits until a command succeeds, five seconds at most.
until_true() {
    for _ in $(seq 250); do
        if "$@" >/dev/null 2>&1; then return; fi
        sleep 0.02
    done
    fail "waited 5 s for: $*"
}
rules() { iptables-save | grep '^-A' || true; }
# Not grep -q: it leaves early, and ip would fail for want of a reader.
has_address() { ip -oneline addr show dev lo | grep -F " $ADDRESS/32 " >/dev/null; }
gone_address() { ! has_address; }
has_rules() { [ "$(rules)" = "$expected" ]; }
show() { sed 's/^/   | /'; }

expected="\
-A PREROUTING -d $ADDRESS/32 -p tcp -m tcp --dport 443 -j NOTRACK
-A OUTPUT -d $ADDRESS/32 -p tcp -m tcp --dport 443 -j NOTRACK
-A OUTPUT -s $ADDRESS/32 -p tcp -m tcp --sport 443 -j NOTRACK
-A INPUT -d $ADDRESS/32 -p tcp -m tcp --dport 443 -j ACCEPT
-A OUTPUT -s $ADDRESS/32 -p tcp -m tcp --sport 443 -j ACCEPT"

title "The node agent starts: apiserver-proxy-sidecar --ip-address=$ADDRESS --setup-iptables --cleanup"
"$bin/apiserver-proxy-sidecar" --ip-address=$ADDRESS --setup-iptables --cleanup 2>"$work/agent.log" &
agent=$!
pids+=("$agent")
until_true grep -q 'in place, watching' "$work/agent.log"
say "ip addr show dev lo"
ip addr show dev lo | show
has_address || fail "the address is not there"
say "iptables-save"
rules | show
has_rules || fail "these are not the five rules"

title "Somebody takes the address away, and flushes a table. The kernel tells the agent, and both come back."
healed() { [ "$(grep -c 'had been taken away' "$work/agent.log")" -ge "$1" ]; }
ip addr del "$ADDRESS/32" dev lo || fail "the address could not be taken away"
until_true healed 1
has_address || fail "the address is not back"
iptables -t raw -F
until_true healed 2
until_true has_rules
grep 'had been taken away' "$work/agent.log" | show

title "The agent stops (SIGTERM) and cleans up."
kill -TERM "$agent"
wait "$agent" || fail "the agent ended with exit code $?"
gone_address || fail "the address is still there"
[ -z "$(rules)" ] || fail "rules are still there: $(rules)"
say "ip addr show dev lo"
ip addr show dev lo | show
say "iptables-save | grep '^-A': nothing"
say "its log:"
show <"$work/agent.log"

title "The Pod webhook starts: apiserver-proxy-pod-webhook --apiserver-fqdn=foo.bar."
"$bin/apiserver-proxy-pod-webhook" --apiserver-fqdn=foo.bar. --shutdown-delay=0 \
    >"$work/introduction" 2>"$work/webhook.log" &
webhook=$!
pids+=("$webhook")
until_true grep -q '] serving' "$work/webhook.log"
sed -n '/BEGIN CERTIFICATE/,/END CERTIFICATE/p' "$work/introduction" >"$work/ca.crt"
say "no certificate was given, so it made one and printed its CA, used below"

title "The API server asks it about a Pod (testdata/admission.json, by curl). Its patch, decoded:"
curl --silent --show-error --cacert "$work/ca.crt" -H "Content-Type: application/json" \
    -d "@$testdata/admission.json" -H "Accept: application/json" \
    https://localhost:9443/webhook/pod-apiserver-env >"$work/answer.json" || fail "curl failed"
jq -r '.response.patch' "$work/answer.json" | base64 -d | jq . >"$work/patch.json"
show <"$work/patch.json"
cat >"$work/expected.json" <<'END'
[
  {
    "op": "add",
    "path": "/spec/initContainers/0/env",
    "value": [
      {
        "name": "KUBERNETES_SERVICE_HOST",
        "value": "foo.bar."
      }
    ]
  },
  {
    "op": "add",
    "path": "/spec/containers/0/env",
    "value": [
      {
        "name": "KUBERNETES_SERVICE_HOST",
        "value": "foo.bar."
      }
    ]
  }
]
END
diff "$work/expected.json" "$work/patch.json" || fail "this is not the expected patch"

title "The whole path of a node: the agent puts the address in place, apiserver-proxy carries what comes there."
"$bin/apiserver-proxy-sidecar" --ip-address=$ADDRESS --daemon=false 2>"$work/agent.log" || fail "the agent failed"
say "apiserver-proxy --listen=$ADDRESS:443 --upstream=localhost:9443 --access-log=all"
"$bin/apiserver-proxy" --listen=$ADDRESS:443 --upstream=localhost:9443 --access-log=all 2>"$work/proxy.log" &
proxy=$!
pids+=("$proxy")
until_true grep -q 'accepting connections' "$work/proxy.log"
say "curl https://localhost, led to $ADDRESS; the webhook stands for an API server, and its certificate is checked:"
curl --silent --show-error --cacert "$work/ca.crt" --resolve "localhost:443:$ADDRESS" \
    -H "Content-Type: application/json" -d "@$testdata/admission.json" \
    https://localhost/webhook/pod-apiserver-env >"$work/carried.json" || fail "curl failed"
diff "$work/answer.json" "$work/carried.json" || fail "another answer came through the proxy"
say "the same answer came. The proxy's log:"
kill -TERM "$proxy"
wait "$proxy" || fail "the proxy ended with exit code $?"
show <"$work/proxy.log"
grep -q 'connection ended.*outcome=ok' "$work/proxy.log" || fail "the proxy tells of no connection"
kill -TERM "$webhook"
wait "$webhook" || fail "the webhook ended with exit code $?"

title "A corporate proxy, from one file (testdata/egress/seed/config.yaml). Does 100.64.0.1 go through it?"
egress=$testdata/egress/seed/config.yaml
"$bin/apiserver-proxy-pod-webhook" no-proxy explain 100.64.0.1 --config "$egress" >"$work/explained" || fail "explain failed"
show <"$work/explained"
grep -q 'Go  .*direct, by 100.64.0.0/13' "$work/explained" || fail "this is not what Go does"

title "The same, told to kubelet of a node whose file system is at /…/node: node-proxy --apply --root=…"
mkdir -p "$work/node/etc/systemd/system"
"$bin/apiserver-proxy-sidecar" node-proxy --apply --root="$work/node" --units=kubelet --egress-config="$egress" \
    2>"$work/node-proxy.log" || fail "node-proxy failed"
drop_in=$work/node/etc/systemd/system/kubelet.service.d/http-proxy.conf
stat -c '%A %n' "$drop_in" | sed "s|$work||" | show
sed 's|//[^@]*@|//***@|' "$drop_in" | show
diff "$testdata/egress/seed/http-proxy.conf" "$drop_in" || fail "this is not the expected drop-in"

title "All as expected. Nothing of this was done to your machine: it ran in a namespace that is gone now."
