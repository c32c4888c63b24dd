#!/usr/bin/env bash
# Installs Helm as a library, and the schemas of Kubernetes, where tests/helm/check.py is run with them. Only tests use it.
set -euo pipefail
# shellcheck source=tests/venv.sh
. "$(dirname "${BASH_SOURCE[0]}")/venv.sh"

beside=kubernetes-validate==1.37.0
install helm-python-sdk 0.2.2 "$@"
