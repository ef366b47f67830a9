#!/bin/bash
# Builds all images and starts each once: images/build.sh FOLDER-WITH-BINARIES CONTEXTS
# With docker, podman or buildah, whichever works here. ENGINE=… picks one.
set -euo pipefail
bin=$1 contexts=$2
here=$(dirname "$0")
version=v$(sed -n 's/^version = "\(.*\)"/\1/p' "$here/../Cargo.toml" | head -1)

engine=${ENGINE:-}
if [ -z "$engine" ]; then
    for candidate in docker podman buildah; do
        if "$candidate" info >/dev/null 2>&1; then engine=$candidate && break; fi
    done
fi
if [ -z "$engine" ]; then
    echo "none of docker, podman and buildah works here" >&2
    exit 1
fi
case $engine in
    buildah) build=(buildah build --isolation chroot) ;;
    *) build=("$engine" build) ;;
esac

"$here/stage.sh" "$bin" "$contexts"
for image in agent webhook proxy; do
    case $image in
        agent) name=apiserver-proxy-sidecar ;;
        webhook) name=apiserver-proxy-pod-webhook ;;
        proxy) name=apiserver-proxy ;;
    esac
    "${build[@]}" --quiet --tag "$name:$version" --file "$here/$image.Dockerfile" \
        --build-arg VERSION="$version" --build-arg REVISION="${GIT_COMMIT:-unknown}" "$contexts/$image" >/dev/null
    size=$("$engine" inspect --type image --format '{{.Size}}' "$name:$version" 2>/dev/null || true)
    [ -n "$size" ] || size=$(du -sb "$contexts/$image/rootfs" | cut -f1)
    printf '%s:%s built with %s, %d.%d MB (the binary %d KiB)\n' "$name" "$version" "$engine" \
        $((size / 1000000)) $((size / 100000 % 10)) $(($(stat -c %s "$contexts/$image/rootfs/$name") / 1024))
done
"$here/check.sh" "$engine" "$version" "$contexts"
