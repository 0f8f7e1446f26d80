# syntax=docker/dockerfile:1
# The engine as an image: built with Rust, run on a plain Debian of the same release.

FROM rust:1-bookworm AS build
WORKDIR /src
COPY . .
# The caches outlive the build, so that the next one compiles only what has changed. They are not
# part of the image, which is why the binary is copied out of them.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin tidemill \
    && cp target/release/tidemill /tidemill

FROM debian:bookworm-slim
# Certificates are for brokers with TLS; librdkafka and OpenSSL are in the binary.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --create-home --home-dir /var/lib/tidemill tidemill
COPY --from=build /tidemill /usr/local/bin/tidemill
USER tidemill
# State directories and relative paths of job files are below it.
WORKDIR /var/lib/tidemill
# SIGTERM, which `docker stop` sends, stops a job cleanly.
ENTRYPOINT ["tidemill"]
CMD ["--help"]
