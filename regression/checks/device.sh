#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Memory of a device is the device's: outside src/device no address of it becomes a pointer of the host, except by
# device_map. And the device of the tests is in no program that is installed.
set -eu
top=${top_srcdir:-.}
build=${abs_top_builddir:-.}
cast='\((const )?(struct )?[a-z_0-9]+ \*+\) *\(?[^;]*address'
failed=0

for line in '*(const double *)slot(engine, n).address' '(char *)full->address + 1' \
    '.buffer = (void *)place(op).address,'; do
    if ! echo "$line" | grep -qE "$cast"; then
        echo "failed: the check is broken: it misses $line"
        failed=1
    fi
done
if echo 'if (home.address != from.address) x = (char *)y;' | grep -qE "$cast"; then
    echo "failed: the check is broken: it refuses a comparison"
    failed=1
fi

# NCCL is called with places as the pointers that they are to it; it is the device's own library.
files=$(find "$top/src" -name '*.[ch]' ! -path '*/src/device/*' ! -path '*/src/comm/nccl.c' | sort)
[ -n "$files" ] || { echo "failed: no source was looked at"; exit 1; }
# shellcheck disable=SC2086
if grep -nE "$cast" $files; then
    echo "failed: pointers of the host into memory of a device, see above: use device_map or a slot of host memory"
    failed=1
fi

if ! "${NM:-nm}" "$build/regression/zinf_apart" | grep -q apart_device_use; then
    echo "failed: the check is broken: the apart device is not where it should be"
    failed=1
fi
if "${NM:-nm}" "$build/zinf" | grep apart_; then
    echo "failed: the device of the tests is part of zinf"
    failed=1
fi
[ "$failed" -eq 0 ] && echo "device: $(echo "$files" | wc -l) files"
exit "$failed"
