#!/bin/sh
# Installs the clients of requirements.txt and package-lock.json into a folder:
#   install.sh DIR    a Python environment in DIR/python, with Node; npm's packages in DIR/node
# A folder that holds these very versions is left as it is; one that was made
# for others, or not finished, is made again.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
dir=${1:?usage: install.sh DIR}

want=$(cat "$here/python/requirements.txt" "$here/node/package.json" "$here/node/package-lock.json")
if [ -f "$dir/installed" ] && [ "$(cat "$dir/installed")" = "$want" ]; then
  exit 0
fi
rm -rf "$dir/installed" "$dir/python" "$dir/node" "$dir/npm-cache"
mkdir -p "$dir/node"
python3 -m venv "$dir/python"
"$dir/python/bin/python" -m pip install -q --disable-pip-version-check -r "$here/python/requirements.txt"
cp "$here/node/package.json" "$here/node/package-lock.json" "$dir/node/"
# npm's cache stays in the folder too; its scripts are nobody's business here.
(cd "$dir/node" && PATH="$dir/python/bin:$PATH" npm ci --silent --no-audit --no-fund --ignore-scripts --cache "$dir/npm-cache")
rm -rf "$dir/npm-cache"
printf '%s' "$want" >"$dir/installed"
