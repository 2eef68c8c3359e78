# SPDX-License-Identifier: Apache-2.0
# ZI_LIBRARIES: parallel HDF5 of MPICH, libyaml, jansson, libaio, oneDNN, OpenMP. Each is required; a message
# names the Debian package.
AC_DEFUN([ZI_LIBRARIES], [
PKG_CHECK_MODULES([HDF5], [hdf5-mpich], [],
  [AC_MSG_ERROR([no parallel HDF5 for MPICH (pkg-config hdf5-mpich). Debian: apt-get install libhdf5-mpich-dev])])
zi_hdf5_version=`$PKG_CONFIG --modversion hdf5-mpich`
PKG_CHECK_MODULES([YAML], [yaml-0.1], [],
  [AC_MSG_ERROR([no libyaml. Debian: apt-get install libyaml-dev])])
PKG_CHECK_MODULES([JSON], [jansson >= 2.12], [],
  [AC_MSG_ERROR([no jansson from 2.12 on. Debian: apt-get install libjansson-dev])])
zi_save_CPPFLAGS=$CPPFLAGS
CPPFLAGS="$CPPFLAGS $HDF5_CFLAGS"
AC_MSG_CHECKING([that HDF5 is parallel and of the same MPI])
AC_COMPILE_IFELSE([AC_LANG_PROGRAM([[#include <hdf5.h>
#ifndef H5_HAVE_PARALLEL
#error serial HDF5
#endif
#ifndef MPICH_NUMVERSION
#error HDF5 of another MPI
#endif]], [[H5Pset_fapl_mpio(0, MPI_COMM_WORLD, MPI_INFO_NULL);]])],
  [AC_MSG_RESULT([yes])],
  [AC_MSG_RESULT([no])
   AC_MSG_ERROR([the HDF5 found is serial or belongs to another MPI. Debian: apt-get install libhdf5-mpich-dev])])
CPPFLAGS=$zi_save_CPPFLAGS
AC_CHECK_HEADERS([libaio.h], [], [AC_MSG_ERROR([no libaio.h. Debian: apt-get install libaio-dev])])
AC_CHECK_LIB([aio], [io_setup], [AC_SUBST([AIO_LIBS], [-laio])],
  [AC_MSG_ERROR([no libaio. Debian: apt-get install libaio-dev])])
AC_CHECK_HEADERS([dnnl.h], [], [AC_MSG_ERROR([no oneDNN headers. Debian: apt-get install libdnnl-dev])])
AC_CHECK_LIB([dnnl], [dnnl_sgemm], [AC_SUBST([DNNL_LIBS], [-ldnnl])],
  [AC_MSG_ERROR([no oneDNN library. Debian: apt-get install libdnnl-dev])])
zi_dnnl_version=`printf '#include <dnnl_version.h>\nzi_version DNNL_VERSION_MAJOR DNNL_VERSION_MINOR DNNL_VERSION_PATCH\n' | $CC -E -P - 2>/dev/null | tr -s ' \n' '  ' | $SED -n 's/.*zi_version \([[0-9]]*\) \([[0-9]]*\) \([[0-9]]*\).*/\1.\2.\3/p'`
AC_OPENMP
AS_IF([test "x$ac_cv_prog_c_openmp" = xunsupported], [AC_MSG_ERROR([the compiler has no OpenMP])])
])
