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

# uv installs in half of pip's time; for Pythons that it does not know, and without it, pip does.
uv() {
  local version=0.13.9 target=$packages/uv
  # One script installs it, the others wait.
  {
    flock 8
    [ "$(cat "$target/.installed" 2>/dev/null)" = $version ] || {
      rm -rf "$target"
      python3 -m pip --disable-pip-version-check install --quiet --target "$target" \
        "uv==$version" 2>/dev/null && echo $version >"$target/.installed"
    }
  } 8>"$packages/uv.lock" || return
  "$target/bin/uv" pip install --quiet "$@"
}

# Installs NAME.txt for a Python into NAME (and a suffix), unless that is done.
install() {
  local name=$1 python=$2 wanted target=$packages/$1${3:-} list=$requirements/$1.txt
  wanted=$("$python" --version 2>&1 | cat - "$list")
  [ "$(cat "$target/.installed" 2>/dev/null)" = "$wanted" ] && return
  rm -rf "$target"
  { { "$python" -c 'import sys; sys.exit(sys.version_info < (3, 8))' &&
    uv --python "$python" --target "$target" -r "$list"; } ||
    { rm -rf "$target" && "$python" -m pip --disable-pip-version-check install --quiet --no-compile \
      --target "$target" -r "$list"; }; } >"$packages/$name.log" 2>&1 && echo "$wanted" >"$target/.installed"
}
