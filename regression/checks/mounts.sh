# SPDX-License-Identifier: Apache-2.0
# Sourced first by checks that mount file systems: the check starts itself once more in a mount namespace of its own,
# or is skipped (77) where that is not permitted.
set -eu

if [ "${1:-}" != inside ]; then
    if ! unshare -rm true 2>/dev/null; then
        echo "skipped: no mount namespaces here"
        exit 77
    fi
    exec unshare -rm sh "$0" inside
fi
