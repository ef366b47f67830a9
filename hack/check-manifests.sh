#!/bin/sh
# Checks deploy/ and what the webhook prints against the schemas of Kubernetes, unknown fields included, that the
# programs take the arguments that deploy/ gives them, and that the printed policy does what the webhook does:
# hack/check-manifests.sh FOLDER-WITH-BINARIES
set -eu
bin=$(realpath "$1")
cd "$(dirname "$0")/.."
venv=target/venv
if ! cmp -s hack/requirements.txt "$venv/requirements.txt"; then
    rm -rf "$venv"
    /usr/bin/python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement hack/requirements.txt
    cp hack/requirements.txt "$venv"
fi
validate() { "$venv/bin/kubernetes-validate" --strict --quiet --kubernetes-version 1.36 "$@"; }

# A check that lets everything through is none.
broken=$(mktemp)
trap 'rm -f "$broken"' EXIT
sed 's/readOnlyRootFilesystem/readOnlyRootFileSystem/' deploy/agent.yaml >"$broken"
if validate "$broken" >/dev/null; then
    echo "a manifest with a misspelt field was accepted" >&2
    exit 1
fi
for manifest in deploy/*.yaml testdata/manifest/*.yaml; do
    validate "$manifest"
done
# The webhook's as they are, and with the corporate proxy.
with_proxy=$(mktemp)
with_discover=$(mktemp)
trap 'rm -f "$broken" "$with_proxy" "$with_discover"' EXIT
sed 's/# - --egress-config/- --egress-config/' deploy/webhook.yaml >"$with_proxy"
grep -q '^ *- --egress-config=' "$with_proxy" || {
    echo "deploy/webhook.yaml has no line for the corporate proxy" >&2
    exit 1
}
validate "$with_proxy"
# One file, told twice.
"$venv/bin/python" - "$broken" <<'END'
import sys, yaml
texts = {secret["stringData"]["egress.yaml"] for secret in yaml.safe_load_all(open("deploy/egress.yaml"))}
assert len(texts) == 1, "deploy/egress.yaml does not say the same to Pods and nodes"
open(sys.argv[1], "w").write(texts.pop())
END
for host in api.example.com. 10.96.0.1 10.244.7.7 kubernetes.default.svc; do
    explained=$("$bin/apiserver-proxy-pod-webhook" no-proxy explain "$host" --config "$broken")
    case "$explained" in
        *"  Go  "*"direct, by"*) ;;
        *) echo "with deploy/egress.yaml, kubelet would take the proxy to $host" >&2 && exit 1 ;;
    esac
done
# The proxy's as it is, and with endpoints from the cluster.
sed 's/# discover: //' deploy/node.yaml >"$with_discover"
grep -q '^ *- --discover$' "$with_discover" || {
    echo "deploy/node.yaml has no line for --discover" >&2
    exit 1
}
validate "$with_discover"
"$bin/apiserver-proxy-pod-webhook" manifest webhook | diff deploy/webhook-configuration.yaml - || {
    echo "deploy/webhook-configuration.yaml is not what \`manifest webhook\` prints; write it anew" >&2
    exit 1
}
"$venv/bin/python" hack/check-policy.py "$bin/apiserver-proxy-pod-webhook"

"$venv/bin/python" - deploy/*.yaml "$with_proxy" "$with_discover" <<'END' | while read -r image args; do
import sys, yaml
for path in sys.argv[1:]:
    for document in yaml.safe_load_all(open(path)):
        spec = document.get("spec", {}).get("template", {}).get("spec", {})
        for container in spec.get("initContainers", []) + spec.get("containers", []):
            print(container["image"].split(":")[0], *container["args"])
END
    # Past the command line each goes on to its work; only exit code 2 is a mistake in the arguments.
    code=0
    # shellcheck disable=SC2086 # the words are arguments
    message=$(setpriv --bounding-set=-all --inh-caps=-all timeout 1 "$bin/$image" $args 2>&1) || code=$?
    if [ "$code" = 2 ]; then
        echo "$image $args: $message" >&2
        exit 1
    fi
done
echo "the manifests are valid"
