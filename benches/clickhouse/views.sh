#!/usr/bin/env bash
# What reports cost on ClickHouse 18.16 without materialized views, and what views would cost and save.
#
#   benches/clickhouse/views.sh [MILLIONS OF ROWS, 10 when not said]
#
# 30 days, one insert each, 5,000 paths and 200,000 visitors. Needs `tests/clickhouse/run` once, for the
# server; makes a folder here, on a real disk, and removes it.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
rows=$((${1:-10} * 1000000 / 30)) port=$((RANDOM % 10000 * 3 + 20000))
folder=$(mktemp -d ./views.XXXXXX)
"$root/tests/clickhouse/serve" old "$(realpath "$folder")" "$port" >/dev/null 2>&1 &
server=$!
trap 'kill -9 $server; wait 2>/dev/null; rm -rf "$folder"' EXIT
client() {
  "$root/.venvs/clickhouse-18.16/usr/bin/clickhouse-client" --user=djaffar --password=se/cret \
    --host=127.0.0.1 --port=$((port + 1)) "$@"
}
until client --query "SELECT 1" >/dev/null 2>&1; do
  kill -0 $server || { echo "the server has ended: run tests/clickhouse/run once"; exit 1; }
  sleep 0.2
done

# The table as `djaffar migrate` makes it.
client --query "$(sed -n '/CREATE TABLE.*djaffar_activity/,/;/p' "$root/migrations/clickhouse/0001_djaffar.sql" |
  sed 's/{on}//; s/{activity}/MergeTree()/; s/{settings}//; s/;//')"

# One day's rows, into a table.
fill() {
  local table=$1 day
  for day in $(seq 30); do
    client --max_block_size="$rows" --query "INSERT INTO $table (id, stored_at, visitor, date, day, path) SELECT
      $day * 100000000 + number, now(), toString(intHash32(number) % 200000), number, toDate('2026-10-01') + $day,
      concat('/articles/', toString(intHash64(number) % 5000), '/') FROM system.numbers LIMIT $rows"
  done
}

# The milliseconds of a query: the median of five.
median() {
  for _ in 1 2 3 4 5; do client --time --format=Null --query "$1" 2>&1; done |
    sort -n | sed -n 3p | awk '{ printf "%.0f ms\n", $1 * 1000 }'
}

seconds() { local start=$EPOCHREALTIME; "$@"; echo "$EPOCHREALTIME $start" | awk '{ printf "%.1f s\n", $1 - $2 }'; }

echo "rows: $((rows * 30)), $(client --query 'SELECT version()')"
echo "inserting without views: $(seconds fill djaffar_activity)"
for days in 7 30; do
  since="day > toDate('2026-10-31') - $days"
  echo "views by day, of $days days: $(median "SELECT day, count() FROM djaffar_activity WHERE $since GROUP BY day")"
  echo "visitors by day, of $days days: $(
    median "SELECT day, uniqExact(visitor) FROM djaffar_activity WHERE $since GROUP BY day")"
  echo "ten paths, of $days days: $(
    median "SELECT path, count() AS views FROM djaffar_activity WHERE $since GROUP BY path ORDER BY views DESC LIMIT 10")"
done

client --query "CREATE TABLE viewed AS djaffar_activity"
client --query "CREATE MATERIALIZED VIEW paths ENGINE = SummingMergeTree() PARTITION BY toYYYYMM(day) ORDER BY (day, path)
  AS SELECT day, path, count() AS views FROM viewed GROUP BY day, path"
client --query "CREATE MATERIALIZED VIEW visitors ENGINE = AggregatingMergeTree() PARTITION BY toYYYYMM(day) ORDER BY day
  AS SELECT day, uniqExactState(visitor) AS visitors FROM viewed GROUP BY day"
echo "inserting with views of paths and visitors: $(seconds fill viewed)"
for days in 7 30; do
  since="day > toDate('2026-10-31') - $days"
  echo "the same, visitors by day, of $days days: $(
    median "SELECT day, uniqExactMerge(visitors) FROM visitors WHERE $since GROUP BY day")"
  echo "the same, ten paths, of $days days: $(
    median "SELECT path, sum(views) AS views FROM paths WHERE $since GROUP BY path ORDER BY views DESC LIMIT 10")"
done
