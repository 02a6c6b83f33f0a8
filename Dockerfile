# The operator's image, and with `--target simulator` that of the simulated AWS, for `make kind`.
# All stages are of the same Debian release, so that the C library is never older than the one that the programs were
# linked with. The bases are named by tag, to be had with their latest fixes; the release workflow records their digests
# in the image's provenance. `make image` replaces them where no registry can be reached.
ARG BUILD_IMAGE=docker.io/library/rust:1.95-slim-trixie
ARG RUN_IMAGE=gcr.io/distroless/cc-debian13:nonroot

FROM ${BUILD_IMAGE} AS build
# The operator names its crates, so that scanners and SBOM generators find them.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=secret,id=cargo,target=/usr/local/cargo/config.toml \
    --mount=type=secret,id=authorities,target=/etc/ssl/certs/ca-certificates.crt \
    cargo install --quiet --locked --root /usr/local cargo-auditable@0.7.7
WORKDIR /src
COPY . .

FROM build AS build-simulator
ARG PROFILE=release
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,id=amplify-operator-target,sharing=locked \
    --mount=type=secret,id=cargo,target=/usr/local/cargo/config.toml \
    --mount=type=secret,id=authorities,target=/etc/ssl/certs/ca-certificates.crt \
    cargo auditable build --locked --profile "${PROFILE}" --package amplify-simulator \
    && cp "target/${PROFILE}/amplify-simulator" /

FROM build AS build-operator
ARG PROFILE=release
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,id=amplify-operator-target,sharing=locked \
    --mount=type=secret,id=cargo,target=/usr/local/cargo/config.toml \
    --mount=type=secret,id=authorities,target=/etc/ssl/certs/ca-certificates.crt \
    cargo auditable build --locked --profile "${PROFILE}" --package amplify-operator --bin amplify-operator \
    && cp "target/${PROFILE}/amplify-operator" /

FROM ${RUN_IMAGE} AS simulator
COPY --from=build-simulator /amplify-simulator /usr/local/bin/amplify-simulator
USER 65532:65532
EXPOSE 4566
ENTRYPOINT ["/usr/local/bin/amplify-simulator"]

# The base has glibc, libgcc and the certificate authorities; no shell and no package manager.
FROM ${RUN_IMAGE} AS operator
ARG VERSION=0.0.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="amplify-operator" \
      org.opencontainers.image.description="A Kubernetes operator for AWS Amplify (Gen 1) backends, GraphQL APIs, storages and environment records" \
      org.opencontainers.image.source="https://github.com/amplify-operator/amplify-operator" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY LICENSE THIRD-PARTY.txt /usr/share/doc/amplify-operator/
COPY --from=build-operator /amplify-operator /usr/local/bin/amplify-operator
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/usr/local/bin/amplify-operator"]
