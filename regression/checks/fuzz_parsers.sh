#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What zinf reads of others, under libFuzzer with sanitizers: decks, token files, checkpoints, and the tables of a run
# directory. Builds the rooms that read them by clang, in a folder that goes away, and gives each harness SECONDS (15).
# TARGETS: some of them only. KEEP: a folder where corpora are kept from run to run, and inputs that failed are left.
set -eu
top=${abs_top_builddir:-$(pwd)}
source=${abs_top_srcdir:-$top/..}
zinf=${ZINF:-$top/zinf}
seconds=${SECONDS_EACH:-15}
targets=${TARGETS:-deck tokens tables checkpoint}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# What configure found out, from the makefile of the build.
value() { sed -n "s/^$1 = //p" "$top/Makefile"; }
sanitizers=address,undefined
flags="-std=c11 -D_GNU_SOURCE -O1 -g -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,$sanitizers"
flags="$flags -fno-sanitize-recover=undefined -ffunction-sections -fdata-sections $(value HDF5_CFLAGS)"
flags="$flags -I$source/src -I$top/src -I$source/regression/fuzz"

cat >"$folder/try.c" <<'END'
int LLVMFuzzerTestOneInput(const unsigned char *data, unsigned long size);
int LLVMFuzzerTestOneInput(const unsigned char *data, unsigned long size)
{
    (void)data;
    return size > 1000000;
}
END
if ! clang -fsanitize=fuzzer,$sanitizers "$folder/try.c" -o "$folder/try" 2>"$folder/errors" ||
    ! "$folder/try" -runs=1 2>>"$folder/errors"; then
    echo "fuzz_parsers: skipped: there is no clang with libFuzzer here"
    cat "$folder/errors"
    exit 77
fi

# Rooms one by one: some have files of the same name. What they need of other rooms is taken from the library of the
# build, which has no sanitizers.
compile() {
    room=$1
    shift
    mkdir -p "$folder/build/$room"
    (
        cd "$folder/build/$room"
        # shellcheck disable=SC2086
        printf "$source/$room/%s\n" "$@" | xargs -n 4 -P 2 clang $flags -c
    )
}
for room in src/base src/h5 src/checkpoint src/data src/deck; do
    # shellcheck disable=SC2046
    compile "$room" $(cd "$source/$room" && ls ./*.c)
done
compile src/app chart.c csv.c directory.c history.c history_files.c lock.c numbers.c page.c page_tables.c report.c series.c
libs="$(value DNNL_LIBS) $(value HDF5_LIBS) $(value YAML_LIBS) $(value AIO_LIBS) $(value OPENMP_CFLAGS) -lpthread -lm"
for target in $targets; do
    compile regression/fuzz "$target.c"
    # shellcheck disable=SC2046,SC2086
    (cd "$top" && clang -fsanitize=fuzzer,$sanitizers "$folder/build/regression/fuzz/$target.o" "$folder"/build/src/*/*.o \
        libzinf.a libkernels_*.a $libs -o "$folder/$target")
done
[ "${BUILD_ONLY:-}" = "" ] || { cp "$folder"/deck "$folder"/tokens "$folder"/tables "$folder"/checkpoint "$BUILD_ONLY"; exit 0; }
echo "built"
