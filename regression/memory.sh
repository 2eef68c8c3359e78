# SPDX-License-Identifier: Apache-2.0
# Sourced by what runs tests of many small runs and files.

# Prints where they lie: in memory, where fsync takes no time, if /dev/shm has 1 GiB to spare; otherwise, or if TMPDIR says
# where, on a disk. Tests of disks always lie there.
memory_folder() {
    spare=$(df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 { print $4 }')
    if [ -z "${TMPDIR:-}" ] && [ "${spare:-0}" -ge 1048576 ] && [ -w /dev/shm ]; then
        echo /dev/shm
    else
        echo "${TMPDIR:-/tmp}"
    fi
}
