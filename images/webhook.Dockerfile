# apiserver-proxy-pod-webhook, a static binary and nothing else. Built by `make images`; the context is the folder
# that images/stage.sh fills.
FROM scratch
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="apiserver-proxy-pod-webhook" \
      org.opencontainers.image.description="Adds the API server's name to the environment of every Pod's containers" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY rootfs/ /
USER 65532:65532
EXPOSE 9443 9440
ENTRYPOINT ["/apiserver-proxy-pod-webhook"]
