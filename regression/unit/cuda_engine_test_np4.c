/* SPDX-License-Identifier: Apache-2.0 */
/* Training on CUDA devices of several ranks, see cuda_engine.h. */
#include "regression/unit/cuda_engine.h"

int main(int argc, char **argv)
{
    return cuda_engine_main(argc, argv, "cuda_engine_test_np4", false);
}
