# The image of SnapWatcher has one static program and the public CA certificates, and nothing else. Build it with
#
#   docker build -t snapwatcher:latest .
#   podman build -t snapwatcher:latest .
#
# With --build-arg BINARY=outside the image gets a program that was built before: `make image` puts the program and the CA
# certificates into target/image/ if no engine can run the stage `build`.

ARG BINARY=build

# A tag can be moved to another image, a digest cannot. It names the index, which has an image for each architecture.
FROM docker.io/library/rust:1.89-bookworm@sha256:948f9b08a66e7fe01b03a98ef1c7568292e07ec2e4fe90d88c07bb14563c84ff AS build
# Writes the names and versions of all dependencies into the program, where a scanner finds them (`make sbom` lists them too).
RUN cargo install --locked --root /usr/local cargo-auditable --version 0.7.7
WORKDIR /source
COPY . .
# With a target, the flag below does not apply to build scripts and macros, which must be dynamic.
# With the caches the next build compiles only what changed.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    target="$(rustc --print host-tuple)" && \
    RUSTFLAGS='-C target-feature=+crt-static' \
        cargo auditable build --release --locked --package snapwatcher --bin snapwatcher --target "$target" && \
    grep -aqF .dep-v0 "target/$target/release/snapwatcher" && \
    install -D --target-directory=/image "target/$target/release/snapwatcher" /etc/ssl/certs/ca-certificates.crt

FROM scratch AS outside
COPY target/image/ /image/

# hadolint ignore=DL3006
FROM ${BINARY} AS binary

FROM scratch
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="SnapWatcher" \
      org.opencontainers.image.description="Checkpoints labeled pods, with an admission webhook and a watcher in one process" \
      org.opencontainers.image.vendor="WeaverSoft" \
      org.opencontainers.image.source="https://github.com/weaversoft/snap" \
      org.opencontainers.image.documentation="https://github.com/weaversoft/snap" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=binary /image/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=binary /image/snapwatcher /snapwatcher
# By number, because the image has no /etc/passwd, and Kubernetes verifies runAsNonRoot only for a number.
USER 1001:1001
EXPOSE 8443 8080
ENTRYPOINT ["/snapwatcher"]
