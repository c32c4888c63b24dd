#!/usr/bin/env bash
# Installs oidc-provider-mock, an identity provider that is not ours, where the tests look for it. Only they use it.
set -euo pipefail
# shellcheck source=tests/venv.sh
. "$(dirname "${BASH_SOURCE[0]}")/venv.sh"

install oidc-provider-mock 0.3.4 "$@"
