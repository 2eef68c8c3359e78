# SPDX-License-Identifier: Apache-2.0
# Sourced in place of app_common.sh by checks that make many runs and ask nothing of a disk: half of the time of a tiny run
# is fsync. What goes to nvme goes to $disk, which is on a disk.
. "${srcdir:-.}/regression/memory.sh"
real=$(mktemp -d)
TMPDIR=$(memory_folder)
export TMPDIR
. "${srcdir:-.}/regression/checks/app_common.sh"
trap 'rm -rf "$folder" "$real"' EXIT
disk=$real/disk
