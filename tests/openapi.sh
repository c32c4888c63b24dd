#!/usr/bin/env bash
# Installs a validator of OpenAPI documents that is not ours, where the tests look for it. Only they use it.
set -euo pipefail
# shellcheck source=tests/venv.sh
. "$(dirname "${BASH_SOURCE[0]}")/venv.sh"

install openapi-spec-validator 0.9.0 "$@"
