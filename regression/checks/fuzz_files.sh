#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Checkpoints, run records and token files with changed bytes, read on a build with sanitizers of its own: only
# the rooms that read them, in a folder that goes away. COUNT files of every kind from seed SEED (300, 1): the same
# ones every day. To search for faults, give it another seed and more files (CONTRIBUTING.md).
set -eu
top=${abs_top_builddir:-$(pwd)}
source=${abs_top_srcdir:-$top/..}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# What configure found out, from the makefile of the build.
value() { sed -n "s/^$1 = //p" "$top/Makefile"; }
CC=${CC:-$(value CC)}
flags="-std=c11 -D_GNU_SOURCE -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined"
flags="$flags $(value HDF5_CFLAGS)"

echo 'int main(void) { return 0; }' >"$folder/try.c"
# shellcheck disable=SC2086
if ! $CC $flags "$folder/try.c" -o "$folder/try" 2>"$folder/errors" || ! "$folder/try" 2>>"$folder/errors"; then
    echo "fuzz_files: skipped: this compiler has no sanitizers"
    cat "$folder/errors"
    exit 77
fi

# Rooms one by one: two of them have a file of the same name. What belongs to the module for CUDA stays out.
for room in src/base src/h5 src/comm src/disk src/checkpoint src/data; do
    mkdir -p "$folder/build/$room"
    cd "$folder/build/$room"
    # shellcheck disable=SC2086
    printf '%s\n' "$source/$room"/*.c | grep -v '/nccl\.c$' | xargs -n 4 -P 2 $CC $flags -I"$source/src" -I"$top/src" -c
done
mkdir -p "$folder/build/regression/fuzz"
cd "$folder/build/regression/fuzz"
# shellcheck disable=SC2086
$CC $flags -I"$source/src" -I"$top/src" -I"$source" -c "$source/regression/fuzz/files.c"
# What these rooms need of others is taken from the library of the build, which has no sanitizers.
libs="$(value DNNL_LIBS) $(value HDF5_LIBS) $(value YAML_LIBS) $(value AIO_LIBS) $(value OPENMP_CFLAGS) -lpthread -lm"
cd "$top"
# shellcheck disable=SC2046,SC2086
$CC $flags "$folder"/build/*/*/*.o libzinf.a libkernels_*.a $libs -o "$folder/files"

cd "$folder"
mkdir work
export ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1:max_allocation_size_mb=1024:exitcode=99:handle_abort=1
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 UCX_HANDLE_ERRORS=none
ZINF=${ZINF:-$top/zinf} ./files work "${COUNT:-300}" "${SEED:-1}"
echo "fuzz_files: passed"
