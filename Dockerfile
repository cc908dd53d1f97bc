# The image of every process. `BASE` is any image with Python 3.11 or newer and its venv module, of glibc:
#   docker build -t heyfleet .
#   docker build -t heyfleet --build-arg BASE=registry.example.com/python:3.13 .
ARG BASE=python:3.13-slim-bookworm

FROM ${BASE} AS build
WORKDIR /src
RUN python3 -m venv /opt/heyfleet
# The dependencies first: they change less often than the code.
COPY locks/image.lock locks/image.lock
RUN /opt/heyfleet/bin/pip install --no-cache-dir --no-deps --require-hashes -r locks/image.lock
COPY pyproject.toml README.md ./
COPY app app
COPY beat beat
COPY gateway gateway
COPY workers workers
COPY migrations migrations
RUN /opt/heyfleet/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM ${BASE}
COPY --from=build /opt/heyfleet /opt/heyfleet
COPY compose/heyfleet.yaml /etc/heyfleet/heyfleet.yaml
COPY agent /etc/heyfleet/agent
# The one place that is written to: a volume or a tmpfs, which the file system around it need not be. A number, so that
# Kubernetes can see that it is not root.
RUN mkdir -p /var/lib/heyfleet && chown 10001:10001 /var/lib/heyfleet && chmod 0700 /var/lib/heyfleet
USER 10001:10001
WORKDIR /var/lib/heyfleet
ENV PATH=/opt/heyfleet/bin:$PATH \
    HOME=/var/lib/heyfleet \
    USER=heyfleet \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HEYFLEET_CONFIG=/etc/heyfleet/heyfleet.yaml \
    HEYFLEET_STATE_DIR=/var/lib/heyfleet \
    HEYFLEET_HTTP__HOST=0.0.0.0 \
    HEYFLEET_HEALTH__HOST=0.0.0.0 \
    HEYFLEET_HEALTH__PORT=9100
EXPOSE 8000 9100
# Does this process do its work? web answers on its own port: see compose.yaml.
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 CMD ["python3", "-m", "app.probe"]
CMD ["heyfleet", "web"]
