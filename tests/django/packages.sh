# What the scripts of the Django tests share: Pythons, and packages in .venvs/. Wants `packages`,
# `requirements` and `skipped` to be set.

skip() { echo "SKIPPED: $1: $2"; skipped=$((skipped + 1)); }

# The first of these versions of Python that is here, with pip and what Django needs.
python() {
  local version candidate
  for version in "$@"; do
    for candidate in ~/.pyenv/versions/"$version".*/bin/python "$(command -v "python$version")"; do
      [ -x "$candidate" ] && "$candidate" -c 'import pip, sqlite3, ssl' 2>/dev/null &&
        { echo "$candidate"; return; }
    done
  done
  return 1
}

# Installs NAME.txt for a Python into NAME (and a suffix), unless that is done.
install() {
  local name=$1 python=$2 wanted target=$packages/$1${3:-}
  wanted=$("$python" --version 2>&1 | cat - "$requirements/$name.txt")
  [ "$(cat "$target/.installed" 2>/dev/null)" = "$wanted" ] && return
  rm -rf "$target"
  "$python" -m pip --disable-pip-version-check install --quiet --target "$target" \
    -r "$requirements/$name.txt" >"$packages/$name.log" 2>&1 && echo "$wanted" >"$target/.installed"
}
