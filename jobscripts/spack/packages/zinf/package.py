# SPDX-License-Identifier: Apache-2.0
"""Recipe for Spack; doc/slurm.md says how it is used and how far it was tried."""
from spack.package import *


class Zinf(AutotoolsPackage):
    """Trains transformers whose training state is larger than the memory that trains them."""

    # The folder that has this recipe in jobscripts/spack/packages/zinf: a checkout or an unpacked tarball.
    homepage = "file://" + ancestor(__file__, 5)
    git = homepage
    license("Apache-2.0")

    version("main", branch="main")

    variant("debug", default=False, description="No optimisation")

    depends_on("c", type="build")
    depends_on("cxx", type="build")
    depends_on("autoconf@2.71:", type="build")
    depends_on("automake@1.16:", type="build")
    depends_on("libtool", type="build")
    depends_on("pkgconfig", type="build")
    depends_on("mpich")
    depends_on("hdf5@1.10.8:+mpi")
    depends_on("libaio")
    depends_on("libyaml")
    depends_on("jansson@2.12:")
    depends_on("pcre2@10.40:+jit")
    depends_on("utf8proc@2.5:")
    depends_on("sentencepiece@0.1.97:")
    depends_on("onednn@2.6:2 cpu_runtime=omp")

    def configure_args(self):
        """The MPICH that HDF5 has too, no CUDA; HDF5 by hand, since `configure` looks for Debian's name of it."""
        mpi, hdf5 = self.spec["mpich"], self.spec["hdf5"]
        args = ["MPICC=" + mpi.mpicc, "MPIEXEC=" + join_path(mpi.prefix.bin, "mpiexec"), "--with-cuda=no",
                "HDF5_CFLAGS=-I" + hdf5.prefix.include, "HDF5_LIBS=" + hdf5.libs.ld_flags]
        return args + self.enable_or_disable("debug")
