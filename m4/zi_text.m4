# SPDX-License-Identifier: Apache-2.0
# ZI_TEXT: PCRE2 and utf8proc, which tokenizers need, and SentencePiece where it is found. Sets TEXT_CFLAGS,
# TEXT_LIBS, SENTENCEPIECE_LIBS and the conditional HAVE_SENTENCEPIECE.
AC_DEFUN([ZI_TEXT], [
PKG_CHECK_MODULES([PCRE2], [libpcre2-8 >= 10.40], [],
  [AC_MSG_ERROR([no PCRE2 from 10.40 on. Debian: apt-get install libpcre2-dev])])
zi_pcre2_version=`$PKG_CONFIG --modversion libpcre2-8`
PKG_CHECK_MODULES([UTF8PROC], [libutf8proc >= 2.5], [],
  [AC_MSG_ERROR([no utf8proc from 2.5 on. Debian: apt-get install libutf8proc-dev])])
AC_SUBST([TEXT_CFLAGS], ["$PCRE2_CFLAGS $UTF8PROC_CFLAGS"])
AC_SUBST([TEXT_LIBS], ["$PCRE2_LIBS $UTF8PROC_LIBS"])
AC_ARG_WITH([sentencepiece], [AS_HELP_STRING([--with-sentencepiece=auto|yes|no], [tokenizers in .model files, by the library SentencePiece (default: where found)])],
  [], [with_sentencepiece=auto])
zi_sentencepiece_why=
AS_VAR_IF([with_sentencepiece], [no], [zi_sentencepiece_why="not asked for"], [
  PKG_CHECK_MODULES([SENTENCEPIECE], [sentencepiece >= 0.1.97], [
    AC_LANG_PUSH([C++])
    zi_save_CPPFLAGS=$CPPFLAGS; zi_save_LIBS=$LIBS
    CPPFLAGS="$CPPFLAGS $SENTENCEPIECE_CFLAGS"; LIBS="$SENTENCEPIECE_LIBS $LIBS"
    AC_MSG_CHECKING([that $CXX links SentencePiece])
    AC_LINK_IFELSE([AC_LANG_PROGRAM([[#include <sentencepiece_processor.h>]], [[sentencepiece::SentencePieceProcessor p; return p.GetPieceSize();]])],
      [AC_MSG_RESULT([yes])],
      [AC_MSG_RESULT([no])
       zi_sentencepiece_why="$CXX does not link it"])
    CPPFLAGS=$zi_save_CPPFLAGS; LIBS=$zi_save_LIBS
    AC_LANG_POP([C++])
  ], [zi_sentencepiece_why="no sentencepiece from 0.1.97 on (Debian: libsentencepiece-dev)"])
])
AS_IF([test -z "$zi_sentencepiece_why"], [
  zi_sentencepiece=`$PKG_CONFIG --modversion sentencepiece`
  TEXT_CFLAGS="$TEXT_CFLAGS $SENTENCEPIECE_CFLAGS"
  SENTENCEPIECE_LIBS="$SENTENCEPIECE_LIBS -lstdc++"
  AC_DEFINE([HAVE_SENTENCEPIECE], [1], [.model files are read by SentencePiece.])
], [
  AS_VAR_IF([with_sentencepiece], [yes], [AC_MSG_ERROR([--with-sentencepiece: $zi_sentencepiece_why])])
  zi_sentencepiece="not built: $zi_sentencepiece_why"
  SENTENCEPIECE_LIBS=
])
AC_SUBST([SENTENCEPIECE_LIBS])
AM_CONDITIONAL([HAVE_SENTENCEPIECE], [test -z "$zi_sentencepiece_why"])
])
