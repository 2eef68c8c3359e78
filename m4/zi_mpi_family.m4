# SPDX-License-Identifier: Apache-2.0
# ZI_MPI_FAMILY: refuses a compiler, launcher or HDF5 that do not belong to MPICH. A program that is
# compiled with one MPI and started by another runs as many worlds of one rank, without a word.
AC_DEFUN([ZI_MPI_FAMILY], [
AC_MSG_CHECKING([that $CC compiles for MPICH])
AC_LINK_IFELSE([AC_LANG_PROGRAM([[#include <mpi.h>
#ifndef MPICH_NUMVERSION
#error not MPICH
#endif]], [[MPI_Init(0, 0); MPI_Finalize();]])],
  [AC_MSG_RESULT([yes])],
  [AC_MSG_RESULT([no])
   AC_MSG_ERROR([$CC is not a compiler of MPICH (its mpi.h has no MPICH_NUMVERSION, or linking failed).
Install MPICH (Debian: apt-get install mpich libmpich-dev) and configure with MPICC=mpicc.mpich MPIEXEC=mpiexec.mpich])])
zi_mpich_version=`printf '#include <mpi.h>\nzi_version MPICH_VERSION\n' | $CC -E - 2>/dev/null | $SED -n 's/^zi_version "\(.*\)".*/\1/p'`
AC_MSG_CHECKING([that $MPIEXEC starts programs of MPICH])
AS_IF([$MPIEXEC --version 2>&1 | grep -i -q -e hydra -e mpich], [AC_MSG_RESULT([yes])],
  [AC_MSG_RESULT([no])
   AC_MSG_ERROR([$MPIEXEC belongs to another MPI than $CC. Configure with MPIEXEC=mpiexec.mpich (Debian: apt-get install mpich)])])
])
