# Sourced by the scripts beside it: `environment FOLDER EXTRAS` makes a virtual environment with jaxnn and these extras.
# The interpreter is $PYTHON, or python3. uv does the work where it is on the PATH, and venv and pip elsewhere.

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

environment() {
  local folder="$root/$1" extras="$2" python="${PYTHON:-python3}"
  local version stamp="$folder/.jaxnn-installed"
  version="$(cksum < "$root/pyproject.toml")"
  if [ ! -x "$folder/bin/python" ]; then
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
      echo "jaxnn needs Python 3.11 or newer, and $python is older: set PYTHON=/path/to/a/newer/python3" >&2
      return 1
    }
    echo "making $folder" >&2
    if command -v uv > /dev/null; then
      uv venv --quiet --python "$python" "$folder"
    else
      "$python" -m venv "$folder"
    fi
  fi
  # A line for each set of extras that was installed: `train` after `test` has all it needs.
  if ! grep -qxE "([a-z0-9]+,)*$extras(,[a-z0-9]+)* $version" "$stamp" 2> /dev/null; then
    echo "installing jaxnn[$extras], once: this takes a minute or two" >&2
    if command -v uv > /dev/null; then
      uv pip install --quiet --python "$folder/bin/python" --editable "$root[$extras]"
    else
      "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --editable "$root[$extras]"
    fi
    echo "$extras $version" >> "$stamp"
  fi
}
