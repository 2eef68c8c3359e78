# SPDX-License-Identifier: Apache-2.0
# ZI_ISA: which instruction sets the cpu kernels are compiled for; a run picks one of them.
AC_DEFUN([ZI_ISA_TRY], [
AC_MSG_CHECKING([whether $CC takes $2])
zi_save_CFLAGS=$CFLAGS
CFLAGS="$CFLAGS $2"
AC_COMPILE_IFELSE([AC_LANG_PROGRAM([[#include <immintrin.h>]], [[]])], [zi_isa_$1=yes], [zi_isa_$1=no])
CFLAGS=$zi_save_CFLAGS
AC_MSG_RESULT([$zi_isa_$1])
AS_VAR_IF([zi_isa_$1], [yes], [zi_isas="$zi_isas $1"
  AC_DEFINE([$3], [1], [cpu kernels are compiled for $1])])
AM_CONDITIONAL([$3], [test "x$zi_isa_$1" = xyes])
])
# ZI_ISA_TILES: whether the assembler knows tiles of bf16, which the peak of a Xeon with AMX is measured with.
AC_DEFUN([ZI_ISA_TILES], [
AC_MSG_CHECKING([whether the assembler knows AMX])
AC_COMPILE_IFELSE([AC_LANG_PROGRAM([[]], [[__asm__ volatile("tdpbf16ps %tmm2, %tmm1, %tmm0");]])],
  [zi_isa_amx=yes
  AC_DEFINE([HAVE_AMX], [1], [the assembler knows AMX])], [zi_isa_amx=no])
AC_MSG_RESULT([$zi_isa_amx])
])
AC_DEFUN([ZI_ISA], [
zi_isas=generic
AC_SUBST([ISA_AVX2_CFLAGS], ["-march=x86-64-v3"])
AC_SUBST([ISA_AVX512_CFLAGS], ["-march=x86-64-v4 -mprefer-vector-width=512"])
AC_SUBST([ISA_AVX512BF16_CFLAGS], ["-march=x86-64-v4 -mavx512bf16 -mprefer-vector-width=512"])
AC_SUBST([ISA_AMX_CFLAGS], ["$ISA_AVX512BF16_CFLAGS -mamx-tile -mamx-bf16"])
ZI_ISA_TRY([avx2], [$ISA_AVX2_CFLAGS], [HAVE_ISA_AVX2])
ZI_ISA_TRY([avx512], [$ISA_AVX512_CFLAGS], [HAVE_ISA_AVX512])
ZI_ISA_TRY([avx512bf16], [$ISA_AVX512BF16_CFLAGS], [HAVE_ISA_AVX512BF16])
ZI_ISA_TRY([amx], [$ISA_AMX_CFLAGS], [HAVE_ISA_AMX])
ZI_ISA_TILES
])
