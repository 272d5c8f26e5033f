# syntax=docker/dockerfile:1
# One image for every role: the command line chooses between serve, gateway, worker and migrate.

FROM rust:1.95-slim-bookworm AS builder
WORKDIR /build
COPY . .
# The caches stay on the builder's machine and never reach a layer, so the program is copied out of them.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/build/target,sharing=locked \
    cargo build --profile dist --locked -p sealpost \
    && install -D target/dist/sealpost /out/sealpost \
    && install -d -m 0700 /out/data

FROM debian:bookworm-slim
COPY --from=builder /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=builder /out/sealpost /usr/local/bin/sealpost
# `serve` keeps its SQLite files here. The number instead of a name works with `runAsNonRoot` as well.
COPY --from=builder --chown=10001:10001 /out/data /data
WORKDIR /data
VOLUME /data
USER 10001:10001

# Inside a container the published port decides who reaches it.
ENV SEALPOST__GATEWAY__LISTEN=0.0.0.0:8080
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD ["sealpost", "healthcheck"]
ENTRYPOINT ["sealpost"]
CMD ["serve"]
