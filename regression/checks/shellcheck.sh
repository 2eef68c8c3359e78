#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Shell scripts have nothing that shellcheck complains of; skipped where it is not.
set -eu
cd "${top_srcdir:-.}"
command -v shellcheck >/dev/null || { echo "skipped: no shellcheck"; exit 77; }
planted=$(mktemp -d)
trap 'rm -rf "$planted"' EXIT
{ echo "#!/bin/sh"; echo 'unused=$(cd $1 && ls)'; } >"$planted/a.sh"
if shellcheck -S warning "$planted/a.sh" >/dev/null; then
    echo "the check is broken: it takes a faulty script"
    exit 1
fi

# Files that are sourced have no "#!" and are written for sh unless they say otherwise. Names have no spaces.
programs=""
sourced=""
count=0
for file in quickstart run-tests .ci/run regression/*.sh regression/*/*.sh findings/*.sh jobscripts/*.sbatch jobscripts/*.env jobscripts/*.sh; do
    [ -f "$file" ] || continue
    if head -n 1 "$file" | grep -q -e '^#!' -e 'shellcheck shell='; then
        programs="$programs $file"
    else
        sourced="$sourced $file"
    fi
    count=$((count + 1))
done
[ "$count" -gt 3 ]
failed=0
# shellcheck disable=SC2086 # words on purpose
shellcheck -S warning -x $programs || failed=1
# shellcheck disable=SC2086 # words on purpose
shellcheck -S warning -s sh -e SC2034 $sourced || failed=1
echo "shellcheck: $count scripts"
exit "$failed"
