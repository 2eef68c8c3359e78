#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What configure must refuse, each with a message that names the remedy: tools of two MPI families, an HDF5 that is
# serial, a missing library, an option that it does not know. And what it must take. It works on a copy of its own
# files, because a folder that is built in refuses to be the source of another build.
set -eu
top=${top_srcdir:-.}
[ -f "$top/configure" ] || { echo "skipped: no configure here"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder/source/src/program" "$folder/build" "$folder/bin" "$folder/foreign" "$folder/serial"
cp -R "$top/configure" "$top/config" "$top/config.h.in" "$top/Makefile.in" "$folder/source/"
cp "$top/src/program/program.h" "$folder/source/src/program/"
unset CC CFLAGS CPPFLAGS LDFLAGS LIBS CONFIG_SITE
passed=0

fail() {
    echo "failed: $1"
    tail -n 12 "$folder/out"
    exit 1
}

# refuses TEXT ARGUMENT...: configure ends with an error that has this fixed text in its last lines.
refuses() {
    text=$1
    shift
    if (cd "$folder/build" && "$folder/source/configure" "$@") >"$folder/out" 2>&1; then fail "taken: $*"; fi
    tail -n 4 "$folder/out" | grep -qF -e "$text" || fail "$*: the message does not say: $text"
    passed=$((passed + 1))
}

# script NAME: a command of this name, from standard input.
script() {
    { echo "#!/bin/sh"; cat; } >"$folder/bin/$1"
    chmod +x "$folder/bin/$1"
}

compiler=
for name in "${MPICC:-mpicc.mpich}" mpicc; do
    if command -v "$name" >/dev/null; then
        compiler=$name
        break
    fi
done
[ -n "$compiler" ] || { echo "skipped: no MPI compiler"; exit 77; }

refuses "unrecognized options: --enable-nonsense" --enable-nonsense
refuses "unrecognized options: --with-cudda" --with-cudda=no
# A toolkit that is not there, targets that are none; with a toolkit, one that it does not know.
refuses "no nvcc in $folder/nowhere/bin" --with-cuda="$folder/nowhere"
if command -v nvcc >/dev/null; then
    refuses "ninety is neither sm_NN nor compute_NN" --with-cuda=yes --with-cuda-arch=ninety
    refuses "nvcc cannot compile for sm_35" --with-cuda=yes --with-cuda-arch=sm_35
fi

# Another MPI: its compiler (here MPICH's, which finds another mpi.h first), and its launcher.
printf '#define MPI_VERSION 3\nint MPI_Init(int *, char ***);\nint MPI_Finalize(void);\n' >"$folder/foreign/mpi.h"
script mpicc.foreign <<END
exec $compiler -I$folder/foreign "\$@"
END
refuses "MPICC=mpicc.mpich" CC="$folder/bin/mpicc.foreign"
script mpiexec.foreign <<'END'
echo "mpiexec (OpenRTE) 4.1.4"
END
refuses "MPIEXEC=mpiexec.mpich" MPIEXEC="$folder/bin/mpiexec.foreign"

# HDF5: serial, of another MPI, none.
echo '#define H5_VERS_MAJOR 1' >"$folder/serial/hdf5.h"
refuses "libhdf5-mpich-dev" HDF5_CFLAGS="-I$folder/serial" HDF5_LIBS=-lm
printf '#define H5_HAVE_PARALLEL 1\n#include <mpi.h>\n' >"$folder/foreign/hdf5.h"
refuses "another MPI" HDF5_CFLAGS="-I$folder/foreign" HDF5_LIBS=-lm
for library in hdf5-mpich yaml-0.1 jansson libpcre2-8 libutf8proc; do
    script pkg-config <<END
case "\$*" in *$library*) exit 1 ;; esac
exec pkg-config "\$@"
END
    case $library in
    hdf5*) package=libhdf5-mpich-dev ;;
    jansson) package=libjansson-dev ;;
    libpcre2*) package=libpcre2-dev ;;
    libutf8proc) package=libutf8proc-dev ;;
    *) package=libyaml-dev ;;
    esac
    refuses "apt-get install $package" PKG_CONFIG="$folder/bin/pkg-config"
done
refuses "apt-get install libaio-dev" ac_cv_header_libaio_h=no
refuses "apt-get install libaio-dev" ac_cv_lib_aio_io_setup=no
refuses "apt-get install libdnnl-dev" ac_cv_header_dnnl_h=no
refuses "apt-get install libdnnl-dev" ac_cv_lib_dnnl_dnnl_sgemm=no

# SentencePiece may be missing, but not where it is asked for.
script pkg-config <<'END'
case "$*" in *sentencepiece*) exit 1 ;; esac
exec pkg-config "$@"
END
refuses "libsentencepiece-dev" PKG_CONFIG="$folder/bin/pkg-config" --with-sentencepiece=yes

# All is there: a makefile, and a table that says what was found.
rm -rf "$folder/build"
mkdir "$folder/build"
(cd "$folder/build" && "$folder/source/configure" --with-cuda=no --enable-debug) >"$folder/out" 2>&1 || fail "refused"
[ -s "$folder/build/Makefile" ] || fail "no Makefile"
for text in "MPI            MPICH [0-9]" "HDF5           parallel [0-9]" "oneDNN         [0-9]" "-O0 -g3" "debug: yes"; do
    grep -qe "$text" "$folder/out" || fail "the table does not say: $text"
    passed=$((passed + 1))
done
echo "configure: $passed checks passed"
