# apiserver-proxy, a static binary and nothing else. Built by `make images`; the context is the folder that
# images/stage.sh fills. The binary has CAP_NET_BIND_SERVICE as a file capability, which COPY keeps: capabilities that a
# container adds are in force for root only. So it starts only where the container may have that one.
FROM scratch
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="apiserver-proxy" \
      org.opencontainers.image.description="Carries TCP connections from a node's own address to healthy API servers" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY rootfs/ /
USER 65532:65532
ENTRYPOINT ["/apiserver-proxy"]
