# For the test of compose.yaml: Postgres and Redis of Debian, on a base that was made on this machine, with as much of the
# official images' ways as compose.yaml uses.
ARG BASE
FROM ${BASE}
RUN apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    postgresql redis-server && rm -rf /var/lib/apt/lists/*
RUN mkdir /data && chown redis: /data
WORKDIR /data
COPY servers.sh /usr/local/bin/servers.sh
ENTRYPOINT ["sh", "/usr/local/bin/servers.sh"]
CMD ["postgres"]
