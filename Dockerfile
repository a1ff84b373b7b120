# The image of SnapWatcher: one static program, a bundle of the well-known CAs, nothing else.
#
#   docker build -t snapwatcher:latest .
#
# builds the program too. BINARY=outside takes one that was built before (`make image` does so where no engine can run
# the stage `build`): target/image/ has to hold it and the CA bundle.

ARG BINARY=build

FROM docker.io/library/rust:1.89-bookworm AS build
WORKDIR /source
COPY . .
# A target is named, so that the flag below is not for build scripts and macros, which have to be dynamic.
# The caches make the next build one of what has changed.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    target="$(rustc --print host-tuple)" && \
    RUSTFLAGS='-C target-feature=+crt-static' \
        cargo build --release --locked --package snapwatcher --bin snapwatcher --target "$target" && \
    install -D --target-directory=/image "target/$target/release/snapwatcher" /etc/ssl/certs/ca-certificates.crt

FROM scratch AS outside
COPY target/image/ /image/

# hadolint ignore=DL3006
FROM ${BINARY} AS binary

FROM scratch
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="SnapWatcher" \
      org.opencontainers.image.description="Turns a pod label into a checkpoint: admission webhook and watcher in one process" \
      org.opencontainers.image.vendor="WeaverSoft" \
      org.opencontainers.image.source="https://github.com/weaversoft/snap" \
      org.opencontainers.image.documentation="https://github.com/weaversoft/snap" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=binary /image/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=binary /image/snapwatcher /snapwatcher
# By number: there is no file that could give it a name, and Kubernetes has to see that it is not root.
USER 1001:1001
EXPOSE 8443 8080
ENTRYPOINT ["/snapwatcher"]
