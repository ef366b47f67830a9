#!/bin/bash
# Runs the README's examples as they stand: hack/check-readme.sh FOLDER-WITH-BINARIES
# `cargo run`, `cargo build` and target/*/release mean the binaries that are built already, whatever their profile.
set -euo pipefail
bin=$(realpath "$1")
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT
fail() { echo "!! README: $*" >&2; exit 1; }

# The fenced blocks below the marker, one file each.
awk -v to="$work/example" '
    /^<!-- tested by hack\/check-readme.sh -->$/ { marked = 1; next }
    /^```sh$/ && marked { n += 1; inside = 1; next }
    /^```$/ { inside = 0; marked = 0 }
    inside { print > (to n) }' README.md
# What is said to come of the curl.
awk '/^```json$/ { inside = 1; next } /^```$/ { inside = 0 } inside' README.md >"$work/expected"
[ "$(ls "$work" | grep -c '^example')" = 4 ] || fail "expected four examples"

cargo() {
    case "$*" in
        "run --release --bin apiserver-proxy-pod-webhook -- "*) shift 5 && exec "$bin/apiserver-proxy-pod-webhook" "$@" ;;
        "build --release") ;;
        *) fail "cargo $*" ;;
    esac
}
export -f cargo fail
export bin

bash -euo pipefail "$work/example1" >"$work/introduction" 2>"$work/log" &
until grep -q '] serving' "$work/log" 2>/dev/null; do
    kill -0 $! 2>/dev/null || fail "the webhook did not start: $(cat "$work/log")"
    sleep 0.05
done
bash -euo pipefail "$work/example2" >"$work/patch"
diff "$work/expected" "$work/patch" || fail "this is not the patch that it shows"

sed -i "s|\$(ls -d target/\*/release)|$bin|" "$work/example3"
bash -euo pipefail "$work/example3" >"$work/agent" 2>&1 || fail "the agent's example failed: $(cat "$work/agent")"
bash -euo pipefail "$work/example4" >"$work/explained" || fail "the explanation failed"
grep -q '^https://100.64.0.1: depends on the program' "$work/explained" || fail "not explained: $(cat "$work/explained")"
grep -q '^https://registry.example.org: through the proxy' "$work/explained" || fail "not explained: $(cat "$work/explained")"
[ "$(grep -c 'port 443 -j' "$work/agent")" -ge 5 ] || fail "no rules: $(cat "$work/agent")"
echo "the README's examples work"
