#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A disk that fills up under the record of a run: the run ends with exit code 5 and says which file
# could not be written, on one rank and on two, instead of training on with holes in its record. The
# disk is a small tmpfs in a mount namespace of its own; skipped (77) where that is not permitted.
set -eu

if [ "${1:-}" != inside ]; then
    if ! unshare -rm true 2>/dev/null; then
        echo "skipped: no mount namespaces here"
        exit 77
    fi
    exec unshare -rm sh "$0" inside
fi
. "${srcdir:-.}/regression/checks/app_common.sh"

make_data
make_deck
mkdir "$folder/disk"
mount -t tmpfs -o size=200k none "$folder/disk" 2>/dev/null || {
    echo "skipped: tmpfs cannot be mounted here"
    exit 77
}
for command in "$zinf" "$launcher -n 2 $zinf"; do
    expect 5 $command run "$folder/deck.yaml" --set run.directory="$folder/disk" --overwrite \
        --set run.steps=1000000 --set run.report_every=100000 --set data.validation= \
        --set data.validation_every=never
    grep -Eq 'error: .*(steps\.csv|run\.h5)' "$folder/err" || fail "no file is named"
    [ "$(wc -l <"$folder/disk/steps.csv")" -gt 100 ] || fail "the disk was full too early"
done

# No room for the outputs at all: found before the first step.
dd if=/dev/zero of="$folder/disk/filler" bs=1k count=400 2>/dev/null || :
expect 5 "$zinf" run "$folder/deck.yaml" --set run.directory="$folder/disk/other"
if grep -q '^step ' "$folder/out"; then fail "a run without room for its record has trained"; fi
umount "$folder/disk"
done_with app_full_disk
