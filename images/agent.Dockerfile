# apiserver-proxy-sidecar with the iptables of the machine that built it, and nothing else. Built by `make images`;
# the context is the folder that images/stage.sh fills.
FROM scratch
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="apiserver-proxy-sidecar" \
      org.opencontainers.image.description="Keeps the API server proxy's address and rules in place on a node" \
      org.opencontainers.image.licenses="Apache-2.0 AND GPL-2.0-or-later" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY rootfs/ /
# Root, because capabilities that a container adds are in force for root only. NET_ADMIN is all it needs.
USER 0:0
ENTRYPOINT ["/apiserver-proxy-sidecar"]
