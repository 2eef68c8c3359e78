# SPDX-License-Identifier: Apache-2.0
# ZI_CUDA: looks for the CUDA toolkit. Nothing is built from it in this version, so its absence is no
# complaint; asking for it is, rather than a silent nothing.
AC_DEFUN([ZI_CUDA], [
AC_ARG_WITH([cuda], [AS_HELP_STRING([--with-cuda=auto|no], [CUDA toolkit: looked for, not used in this version])],
  [], [with_cuda=auto])
AS_CASE([$with_cuda],
  [no], [zi_cuda="not looked for"],
  [auto], [AC_PATH_PROG([NVCC], [nvcc], [no])
           AS_VAR_IF([NVCC], [no], [zi_cuda="not found (not used in this version)"],
                     [zi_cuda="$NVCC (not used in this version)"])],
  [AC_MSG_ERROR([--with-cuda=$with_cuda: the cuda device comes with a later version; use auto or no])])
])
