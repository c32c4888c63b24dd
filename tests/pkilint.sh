#!/usr/bin/env bash
# Installs pkilint, an X.509 linter that is not ours, where the tests look for it. Only they use it.
set -euo pipefail
# shellcheck source=tests/venv.sh
. "$(dirname "${BASH_SOURCE[0]}")/venv.sh"

install pkilint 0.13.3 "$@"
