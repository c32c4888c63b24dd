#!/usr/bin/env bash
# Installs PyJWT, a maker of tokens that is not ours, where the tests look for it. Only they use it.
set -euo pipefail
# shellcheck source=tests/venv.sh
. "$(dirname "${BASH_SOURCE[0]}")/venv.sh"

beside=cryptography==46.0.3
install PyJWT 2.15.1 "$@"
