#!/bin/sh
# Install gmseg and what `gmseg bids` needs into a new virtual environment: sh install.sh FOLDER
# The versions are those that CI tests.
set -eu
cd "$(dirname "$0")/.."
python3 -m venv "$1"
sed -n 's/^\([A-Za-z0-9][^\\]*\).*/\1/p' .ci/requirements.txt > "$1/constraints.txt"
"$1/bin/pip" install --quiet --no-cache-dir --disable-pip-version-check \
  --constraint "$1/constraints.txt" ".[cohort]"
