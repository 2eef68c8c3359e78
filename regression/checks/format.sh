#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# C sources are as clang-format 14 writes them (.clang-format); skipped where another version or none is.
set -eu
top=${top_srcdir:-.}
for tool in clang-format-14 clang-format none; do
    if [ "$tool" = none ]; then
        echo "skipped: no clang-format 14"
        exit 77
    fi
    if "$tool" --version 2>/dev/null | grep -q 'version 14\.'; then break; fi
done
planted=$(mktemp -d)
trap 'rm -rf "$planted"' EXIT
cp "$top/.clang-format" "$planted/"
printf 'int  f( void ){return 1;}\n' >"$planted/a.c"
if "$tool" --dry-run -Werror "$planted/a.c" 2>/dev/null; then
    echo "the check is broken: it takes an ill-formatted file"
    exit 1
fi
find "$top/src" "$top/regression/unit" -name '*.[ch]' ! -name 'revision.h' | sort >"$planted/files"
xargs "$tool" --dry-run -Werror <"$planted/files"
echo "format: $(wc -l <"$planted/files") files"
