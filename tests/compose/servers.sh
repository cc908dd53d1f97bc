# Postgres as the official image starts it, or whatever else is asked for.
set -eu
[ "${1:-postgres}" = postgres ] || exec "$@"
bin=$(ls -d /usr/lib/postgresql/*/bin | tail -n 1)
data=/var/lib/postgresql/data
mkdir -p "$data" && chown postgres: "$data" && chmod 0700 "$data"
if [ ! -s "$data/PG_VERSION" ]; then
  (umask 077 && printf '%s' "$POSTGRES_PASSWORD" > /tmp/password && chown postgres: /tmp/password)
  su postgres -c "$bin/initdb -D $data -U $POSTGRES_USER --pwfile=/tmp/password --auth=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8 >/dev/null"
  rm /tmp/password
  echo "host all all all scram-sha-256" >> "$data/pg_hba.conf"
  echo "CREATE DATABASE \"$POSTGRES_DB\";" | su postgres -c "$bin/postgres --single -D $data postgres >/dev/null"
fi
mkdir -p /var/run/postgresql && chown postgres: /var/run/postgresql
exec su postgres -c "exec $bin/postgres -D $data -c listen_addresses='*'"
