# syntax=docker/dockerfile:1
# Three stages: the page of the demo's board, a builder with everything, and an image with one binary and the
# authorities' certificates.
FROM node:22-bookworm-slim AS board
WORKDIR /src
COPY client client
COPY examples/board examples/board
RUN examples/board/build

FROM rust:1-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock build.rs ./
COPY src src
COPY migrations migrations
COPY sql sql
COPY tests/tools tests/tools
COPY bench bench
COPY --from=board /src/examples/board/dist examples/board/dist
RUN cargo build --release --locked --bin pgherald

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates curl \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --user-group --no-create-home pgherald
COPY --from=build /src/target/release/pgherald /usr/local/bin/pgherald
USER pgherald
ENV PGHERALD__HTTP__LISTEN=0.0.0.0:8080
EXPOSE 8080
# The container is healthy once the listener hears the database and the pool answers.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["curl", "-fsS", "http://127.0.0.1:8080/ready"]
ENTRYPOINT ["pgherald"]
CMD ["serve"]
