# docker build -t mnist-burn .
# docker run --rm -p 127.0.0.1:8080:8080 -v mnist-runs:/srv/mnist/runs mnist-burn train
FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
# The commit stands in every run that the program makes.
RUN apt-get update && apt-get install -y --no-install-recommends git && rm -rf /var/lib/apt/lists/* \
    && git config --global --add safe.directory /src \
    && cargo build --release --locked -p mnist-cli

FROM debian:bookworm-slim
RUN useradd --uid 1000 --home-dir /srv/mnist mnist && install -d -o mnist -g mnist /srv/mnist /srv/mnist/runs
COPY --from=build /src/target/release/mnist-cli /usr/local/bin/mnist-cli
COPY --from=build /src/datasets /usr/local/share/mnist-burn/datasets
COPY LICENSE-MIT LICENSE-APACHE crates/mnist-train/assets/DejaVuSans-LICENSE.txt /usr/local/share/mnist-burn/
ENV MNIST_DATA_DIR=/usr/local/share/mnist-burn/datasets
# Sets that are imported or fetched stay with the runs that need them.
ENV XDG_CACHE_HOME=/srv/mnist/runs/.cache
USER mnist
WORKDIR /srv/mnist
VOLUME /srv/mnist/runs
EXPOSE 8080
ENTRYPOINT ["mnist-cli"]
CMD ["--help"]
