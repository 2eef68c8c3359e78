#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A full disk, on 1 and on 2 ranks: the checkpoint is refused with exit code 5 and a message that
# says what is short; no temporary file stays, nothing else changes, and no rank hangs. The disk is
# a small tmpfs in a mount namespace of its own; skipped (77) where that is not permitted. Runs in
# the build folder.
set -eu

if [ "${1:-}" != inside ]; then
    if ! unshare -rm true 2>/dev/null; then
        echo "skipped: no mount namespaces here"
        exit 77
    fi
    folder=$(mktemp -d)
    result=0
    unshare -rm sh "$0" inside "$folder" || result=$?
    rm -rf "$folder"
    exit $result
fi

folder=$2
mount -t tmpfs -o size=8m none "$folder" 2>/dev/null || {
    echo "skipped: tmpfs cannot be mounted here"
    exit 77
}
launcher=${MPIEXEC:-mpiexec}

fail() {
    echo "failed: $1"
    cat "$folder.log" || :
    exit 1
}

# The first checkpoint (4.5 MiB) fits into 8 MiB, a second one does not.
write() { timeout 60 "$launcher" -n "$1" regression/unit/checkpoint_write_test --leave "$2"; }
trap 'rm -f "$folder.log"' EXIT
write 1 "$folder/good" >"$folder.log" 2>&1 || fail "writing on a disk with room"
before=$(ls -lR "$folder/good")
for ranks in 1 2; do
    result=0
    write $ranks "$folder/good" >"$folder.log" 2>&1 || result=$?
    [ $result -eq 5 ] || fail "$ranks ranks ended with $result, not 5"
    grep -q "cannot claim" "$folder.log" || fail "$ranks ranks: the message"
    [ "$(ls -lR "$folder/good")" = "$before" ] || fail "$ranks ranks changed the folder"
done
# Almost nothing left: not even the layout fits.
head -c 3200k /dev/zero >"$folder/filler"
for ranks in 1 2; do
    result=0
    write $ranks "$folder/good" >"$folder.log" 2>&1 || result=$?
    [ $result -eq 5 ] || fail "$ranks ranks on a full disk ended with $result, not 5"
    [ "$(ls -lR "$folder/good")" = "$before" ] || fail "$ranks ranks changed the full folder"
done
# With room again the same call works.
rm "$folder/filler"
rm -r "$folder/good"
write 2 "$folder/good" >"$folder.log" 2>&1 || fail "writing after the disk has room again"
echo "checkpoint_full_disk: passed"
