# syntax=docker/dockerfile:1
# The operator's image. Both stages are of the same Debian release, so that the C library is never older than the one
# that the program was linked with; a test runs the program on the files that the second stage is made of.
# The bases are named by tag, to be had with their latest fixes; the release workflow records their digests in the
# image's provenance.

FROM rust:1.95-slim-trixie AS build
WORKDIR /src
COPY . .
ARG TARGETARCH
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,id=amplify-operator-target-${TARGETARCH},sharing=locked \
    cargo build --release --locked --package amplify-operator --bin amplify-operator \
    && cp target/release/amplify-operator /amplify-operator

# glibc, libgcc and the certificate authorities; no shell and no package manager.
FROM gcr.io/distroless/cc-debian13:nonroot
ARG VERSION=0.0.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="amplify-operator" \
      org.opencontainers.image.description="A Kubernetes operator for AWS Amplify (Gen 1) backends, GraphQL APIs, storages and environment records" \
      org.opencontainers.image.source="https://github.com/amplify-operator/amplify-operator" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /amplify-operator /usr/local/bin/amplify-operator
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/usr/local/bin/amplify-operator"]
