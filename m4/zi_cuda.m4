# SPDX-License-Identifier: Apache-2.0
# ZI_CUDA: looks for the CUDA toolkit and NCCL, from which the module zinf-cuda.so is built.
#
# --with-cuda=auto builds it where all is there and says why where not; yes or a folder makes that an error; no does
# not look. A folder is searched alone. Sets NVCC, CUDA_CPPFLAGS, CUDA_LDFLAGS, CUDA_LIBS, CUDA_GENCODE, and the
# conditional HAVE_CUDA.

# ZI_CUDA_REFUSE(REASON): the toolkit cannot be used.
AC_DEFUN([ZI_CUDA_REFUSE], [AS_VAR_IF([zi_cuda_why], [], [zi_cuda_why="$1"])])

# ZI_CUDA_FIND: nvcc, and the folders of headers and libraries that belong to it.
AC_DEFUN([ZI_CUDA_FIND], [
zi_cuda_path=$PATH:${CUDA_HOME:-/nowhere}/bin:${CUDA_PATH:-/nowhere}/bin:/usr/local/cuda/bin:/opt/cuda/bin
AS_CASE([$with_cuda], [auto|yes], [], [zi_cuda_path=$with_cuda/bin])
AC_PATH_PROG([NVCC], [nvcc], [no], [$zi_cuda_path])
AS_VAR_IF([NVCC], [no], [ZI_CUDA_REFUSE([no nvcc in $zi_cuda_path])])
AS_IF([test -z "$zi_cuda_why"], [
  zi_cuda_release=`$NVCC --version | $SED -n 's/.*release \([[0-9]][[0-9]]*\.[[0-9]]*\).*/\1/p'`
  zi_cuda_root=`readlink -f "$NVCC"`
  zi_cuda_root=${zi_cuda_root%/bin/*}
  for zi_dir in "$zi_cuda_root/include" "$zi_cuda_root/targets/$host_cpu-linux/include"; do
    AS_IF([test -z "$zi_cuda_include" && test -f "$zi_dir/cuda_runtime_api.h"], [zi_cuda_include=$zi_dir])
  done
  for zi_dir in "$zi_cuda_root/lib64" "$zi_cuda_root/lib" "$zi_cuda_root/targets/$host_cpu-linux/lib"; do
    AS_IF([test -z "$zi_cuda_lib" && test -f "$zi_dir/libcudart.so"], [zi_cuda_lib=$zi_dir])
  done
  AS_IF([test -z "$zi_cuda_include"], [ZI_CUDA_REFUSE([no cuda_runtime_api.h beside $NVCC])])
  AS_IF([test -z "$zi_cuda_lib"], [ZI_CUDA_REFUSE([no libcudart.so beside $NVCC])])
  AS_IF([test "${zi_cuda_release%%.*}" -lt 12], [ZI_CUDA_REFUSE([CUDA $zi_cuda_release, and zinf needs 12 or later])])
])])

# ZI_CUDA_TRY: compiles for the targets asked for, and links with the libraries.
AC_DEFUN([ZI_CUDA_TRY], [
CUDA_CPPFLAGS="-isystem $zi_cuda_include"
CUDA_LDFLAGS="-L$zi_cuda_lib -Wl,-rpath,$zi_cuda_lib -Wl,--enable-new-dtags"
zi_save_CPPFLAGS=$CPPFLAGS; zi_save_LDFLAGS=$LDFLAGS; zi_save_LIBS=$LIBS
CPPFLAGS="$CPPFLAGS $CUDA_CPPFLAGS"; LDFLAGS="$LDFLAGS $CUDA_LDFLAGS"
AC_CHECK_HEADERS([cublasLt.h nccl.h], [], [ZI_CUDA_REFUSE([no $ac_header])])
AC_CHECK_LIB([cudart], [cudaLaunchKernel], [], [ZI_CUDA_REFUSE([libcudart does not link])])
AC_CHECK_LIB([cublasLt], [cublasLtMatmul], [], [ZI_CUDA_REFUSE([libcublasLt does not link])])
AC_CHECK_LIB([nccl], [ncclAllGather], [], [ZI_CUDA_REFUSE([libnccl does not link])])
CPPFLAGS=$zi_save_CPPFLAGS; LDFLAGS=$zi_save_LDFLAGS; LIBS=$zi_save_LIBS
CUDA_LIBS="-lcudart -lcublasLt -lnccl"
for zi_arch in $with_cuda_arch; do
  AS_CASE([$zi_arch],
    [sm_*|compute_*], [CUDA_GENCODE="$CUDA_GENCODE -gencode arch=compute_${zi_arch@%:@*_},code=$zi_arch"],
    [AC_MSG_ERROR([--with-cuda-arch: $zi_arch is neither sm_NN nor compute_NN])])
done
# Without --threads 0 nvcc compiles for one target after the other.
AS_IF([test -z "$zi_cuda_why"], [
  AC_MSG_CHECKING([whether nvcc compiles for $with_cuda_arch])
  AS_ECHO(["__global__ void k(int *x) { *x = 1; }"]) >conftest.cu
  AS_IF([$NVCC $CUDA_GENCODE $NVCCFLAGS -c conftest.cu -o conftest.o >&AS_MESSAGE_LOG_FD 2>&1],
    [AC_MSG_RESULT([yes])],
    [AC_MSG_RESULT([no])
     ZI_CUDA_REFUSE([$NVCC cannot compile for $with_cuda_arch with this host compiler; see config.log])])
  rm -f conftest.cu conftest.o
])])

# ZI_CUDNN: the headers of cudnn-frontend, with which the module does attention by cuDNN. libcudnn itself is opened at
# run time. Sets CUDNN_CPPFLAGS and the conditional HAVE_CUDNN.
AC_DEFUN([ZI_CUDNN], [
AC_ARG_WITH([cudnn-frontend], [AS_HELP_STRING([--with-cudnn-frontend=DIR], [attention on GPUs by cuDNN 9, with the headers of cudnn-frontend 1.32 or later (default: own kernels)])],
  [], [with_cudnn_frontend=no])
CUDNN_CPPFLAGS= zi_cudnn=
AS_VAR_IF([with_cudnn_frontend], [no], [], [
  AS_IF([test -n "$zi_cuda_why"], [AC_MSG_ERROR([--with-cudnn-frontend needs CUDA, which is not built: $zi_cuda_why])])
  for zi_dir in "$with_cudnn_frontend/include" "$with_cudnn_frontend"; do
    AS_IF([test -z "$CUDNN_CPPFLAGS" && test -f "$zi_dir/cudnn_frontend.h"], [CUDNN_CPPFLAGS="-isystem $zi_dir"])
  done
  AS_IF([test -z "$CUDNN_CPPFLAGS"], [AC_MSG_ERROR([--with-cudnn-frontend=$with_cudnn_frontend: no cudnn_frontend.h there or in its include: pip download nvidia-cudnn-frontend has them])])
  zi_save_CPPFLAGS=$CPPFLAGS
  CPPFLAGS="$CPPFLAGS $CUDA_CPPFLAGS $CUDNN_CPPFLAGS"
  AC_MSG_CHECKING([for cudnn-frontend 1.32 and cuDNN 9])
  AC_PREPROC_IFELSE([AC_LANG_SOURCE([[#include <cudnn_frontend_version.h>
#include <cudnn_version.h>
#if CUDNN_FRONTEND_VERSION < 13200 || CUDNN_MAJOR < 9
#error too old
#endif]])], [AC_MSG_RESULT([yes])],
    [AC_MSG_RESULT([no])
     AC_MSG_ERROR([--with-cudnn-frontend needs cudnn-frontend 1.32 or later and the headers of cuDNN 9 or later (CPPFLAGS=-I... where they are not beside CUDA's); see config.log])])
  CPPFLAGS=$zi_save_CPPFLAGS
  zi_cudnn=", attention by cuDNN"
  AC_DEFINE([HAVE_CUDNN], [1], [The module does attention by cuDNN.])
])
AC_SUBST([CUDNN_CPPFLAGS])
AM_CONDITIONAL([HAVE_CUDNN], [test -n "$zi_cudnn"])
])

AC_DEFUN([ZI_CUDA], [
AC_ARG_WITH([cuda], [AS_HELP_STRING([--with-cuda=auto|yes|no|DIR], [CUDA toolkit 12 or later with cuBLAS and NCCL (default: built where found)])],
  [], [with_cuda=auto])
AC_ARG_WITH([cuda-arch], [AS_HELP_STRING([--with-cuda-arch="sm_NN compute_NN ..."], [GPUs to compile for (default: sm_80 sm_90 compute_80 compute_90)])],
  [], [with_cuda_arch="sm_80 sm_90 compute_80 compute_90"])
AC_ARG_VAR([NVCC], [CUDA compiler])
AC_ARG_VAR([NVCCFLAGS], [flags of the CUDA compiler])
zi_cuda_why= zi_cuda_include= zi_cuda_lib= zi_cuda_release= CUDA_GENCODE=
AS_VAR_IF([with_cuda], [no], [ZI_CUDA_REFUSE([not asked for])], [ZI_CUDA_FIND])
AS_IF([test -z "$zi_cuda_why"], [ZI_CUDA_TRY])
ZI_CUDNN
AS_IF([test -z "$zi_cuda_why"], [
  zi_cuda="$zi_cuda_release for $with_cuda_arch$zi_cudnn"
  AC_DEFINE([HAVE_CUDA], [1], [The module of CUDA devices is built.])
], [
  AS_CASE([$with_cuda], [auto|no], [], [AC_MSG_ERROR([--with-cuda=$with_cuda: $zi_cuda_why])])
  zi_cuda="not built: $zi_cuda_why"
])
AC_DEFINE_UNQUOTED([CUDA_BUILD], ["$zi_cuda"], [What configure says of CUDA.])
AC_SUBST([CUDA_CPPFLAGS])
AC_SUBST([CUDA_LDFLAGS])
AC_SUBST([CUDA_LIBS])
AC_SUBST([CUDA_GENCODE])
AM_CONDITIONAL([HAVE_CUDA], [test -z "$zi_cuda_why"])
])
