/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels: what nvcc's objects register, and launches.
 *
 * An object registers a fat binary, of which the emulation runs the PTX (entries of kind 1, as
 * plain text: nvcc -no-compress) for the target of the settings. The text is read when one of its
 * kernels is first asked for. */
#include "private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "regression/emulator/ptx/ptx.h"

enum { MESSAGE = 1000, PARAMETERS = 64, PARAMETER_BYTES = 4096, ALIGNMENT = 16 };

/* What nvcc puts into an object (fatbinary_section.h), and the head of what that points to. */
struct wrapper {
    int magic, version;
    const uint8_t *data;
    void *unused;
};

struct fat_header {
    uint32_t magic;
    uint16_t version, header_bytes;
    uint64_t bytes;
};

struct fat_entry {
    uint16_t kind, version;
    uint32_t header_bytes;
    uint64_t bytes;
};

struct binary {
    const uint8_t *data;
    struct ptx_module *module;
};

struct CUkern_st {
    struct CUkern_st *next;
    /* The host's stub, by which programs name a kernel; NULL: its module has been closed. */
    const void *stub;
    char *name;
    struct binary *binary;
    struct ptx_kernel *kernel;
    /* Of dynamic shared memory that a launch may ask for. */
    size_t shared_most;
};

/* Between <<<...>>> and the stub that it calls. */
struct configuration {
    dim3 grid, block;
    size_t shared;
    cudaStream_t stream;
};

struct launch {
    const struct CUkern_st *kernel;
    struct ptx_launch launch;
    struct operation *operation;
    void *parameters[PARAMETERS];
    _Alignas(ALIGNMENT) uint8_t bytes[PARAMETER_BYTES];
};

static struct CUkern_st *kernels;
static __thread struct configuration configured;

/* ---- what objects register ---- */

void **__cudaRegisterFatBinary(void *argument);
void __cudaRegisterFatBinaryEnd(void **handle);
void __cudaUnregisterFatBinary(void **handle);
char __cudaInitModule(void **handle);
void __cudaRegisterFunction(void **handle, const char *stub, char *device_stub, const char *name,
                            int threads, uint3 *thread, uint3 *block, dim3 *block_size,
                            dim3 *grid_size, int *warp);
void __cudaRegisterVar(void **handle, char *host, char *device_name, const char *name, int external,
                       size_t bytes, int constant, int global);
unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared,
                                     struct CUstream_st *stream);
cudaError_t __cudaPopCallConfiguration(dim3 *grid, dim3 *block, size_t *shared, void *stream);
cudaError_t __cudaGetKernel(cudaKernel_t *handle, const void *stub);
cudaError_t __cudaLaunchKernel(cudaKernel_t handle, dim3 grid, dim3 block, void **parameters,
                               size_t shared, cudaStream_t stream);

void **__cudaRegisterFatBinary(void *argument)
{
    enum { MAGIC = 0x466243b1 };
    const struct wrapper *wrapper = argument;
    if (wrapper->magic != MAGIC) emulator_fail(EMULATOR_MISUSE, "no fat binary of nvcc");
    struct binary *binary = calloc(1, sizeof *binary);
    if (!binary) abort();
    binary->data = wrapper->data;
    return (void **)binary;
}

void __cudaRegisterFatBinaryEnd(void **handle)
{
    (void)handle;
}

char __cudaInitModule(void **handle)
{
    (void)handle;
    return 1;
}

/* The module that holds the kernels is closed: its stubs name nothing any more. */
void __cudaUnregisterFatBinary(void **handle)
{
    runtime_lock();
    for (struct CUkern_st *kernel = kernels; kernel; kernel = kernel->next)
        if (kernel->binary == (struct binary *)handle) kernel->stub = NULL;
    runtime_unlock();
}

void __cudaRegisterFunction(void **handle, const char *stub, char *device_stub, const char *name,
                            int threads, uint3 *thread, uint3 *block, dim3 *block_size,
                            dim3 *grid_size, int *warp)
{
    (void)device_stub;
    (void)threads;
    (void)thread;
    (void)block;
    (void)block_size;
    (void)grid_size;
    (void)warp;
    struct CUkern_st *kernel = calloc(1, sizeof *kernel);
    if (!kernel) abort();
    kernel->stub = stub;
    kernel->name = strdup(name);
    kernel->binary = (struct binary *)handle;
    kernel->shared_most = SHARED_BYTES;
    runtime_lock();
    kernel->next = kernels;
    kernels = kernel;
    runtime_unlock();
}

/* Variables of device code are those of the PTX; the host does not touch them by name. */
void __cudaRegisterVar(void **handle, char *host, char *device_name, const char *name, int external,
                       size_t bytes, int constant, int global)
{
    (void)handle;
    (void)host;
    (void)device_name;
    (void)name;
    (void)external;
    (void)bytes;
    (void)constant;
    (void)global;
}

/* ---- reading PTX ---- */

/* Whether a text of PTX is for the target that is run. */
static bool is_target(const char *text)
{
    const char *line = strstr(text, "\n.target sm_");
    return line && atoi(line + strlen("\n.target sm_")) == settings()->target;
}

/* The text for the target, which the caller frees; NULL: there is none. */
static char *ptx_text(const struct binary *binary)
{
    enum { MAGIC = 0xba55ed50, PTX = 1 };
    struct fat_header header;
    memcpy(&header, binary->data, sizeof header);
    if (header.magic != (uint32_t)MAGIC) return NULL;
    const uint8_t *at = binary->data + header.header_bytes, *end = at + header.bytes;
    while (at < end) {
        struct fat_entry entry;
        memcpy(&entry, at, sizeof entry);
        const char *text = (const char *)at + entry.header_bytes;
        if (entry.kind == PTX) {
            char *copy = strndup(text, entry.bytes);
            if (copy && is_target(copy)) return copy;
            free(copy);
        }
        at += entry.header_bytes + entry.bytes;
    }
    return NULL;
}

/* Locked. Finds the kernel's code. */
static cudaError_t find_code(struct CUkern_st *kernel)
{
    char error[MESSAGE];
    struct binary *binary = kernel->binary;
    if (!binary->module) {
        char *text = ptx_text(binary);
        if (!text) {
            fprintf(stderr, "emulator: kernel %s: no PTX for compute_%d as plain text\n",
                    kernel->name, settings()->target);
            return cudaErrorNoKernelImageForDevice;
        }
        binary->module = ptx_load(text, error, sizeof error);
        free(text);
        if (!binary->module) emulator_fail(EMULATOR_KERNEL, "%s: %s", kernel->name, error);
    }
    kernel->kernel = ptx_find(binary->module, kernel->name);
    return kernel->kernel ? cudaSuccess : cudaErrorInvalidDeviceFunction;
}

/* The kernel behind a stub, with its code. */
static cudaError_t kernel_of(const void *stub, struct CUkern_st **found)
{
    runtime_lock();
    struct CUkern_st *kernel = kernels;
    while (kernel && kernel->stub != stub)
        kernel = kernel->next;
    cudaError_t error = kernel ? cudaSuccess : cudaErrorInvalidDeviceFunction;
    if (kernel && !kernel->kernel) error = find_code(kernel);
    runtime_unlock();
    *found = kernel;
    return error;
}

/* ---- launches ---- */

static void *reach(void *context, uint64_t address, size_t bytes, uint64_t *first, uint64_t *end)
{
    (void)context;
    const void *place = (const void *)(uintptr_t)address;
    void *alias = emulator_alias(place, bytes);
    if (!alias) return NULL;
    runtime_lock();
    const struct arena *arena = arena_at(place);
    const struct allocation *allocation = arena_find(arena, place, bytes);
    if (allocation) {
        *first = allocation->first;
        *end = allocation->first + allocation->bytes;
    }
    runtime_unlock();
    return allocation ? alias : NULL;
}

static void touched(void *context, uint64_t first, uint64_t end, bool writes)
{
    (void)context;
    struct emulator_range range = {(const void *)(uintptr_t)first, end - first, writes};
    emulator_touched(&range);
}

static cudaError_t run_kernel(void *argument)
{
    struct launch *launch = argument;
    char error[MESSAGE];
    struct operation *operation = operation_now();
    launch->launch.seed = emulator_seed(launch->kernel->name) + operation->mark.number;
    if (!ptx_run(launch->kernel->kernel, &launch->launch, error, sizeof error))
        emulator_fail(EMULATOR_KERNEL, "%s (operation %u of stream %u): %s", operation->mark.name,
                      operation->mark.number, operation->mark.slot, error);
    return cudaSuccess;
}

/* What a device would refuse. */
static cudaError_t check_launch(const struct CUkern_st *kernel, const struct configuration *asked)
{
    enum { GRID_YZ = 65535, BLOCK_Z = 64 };
    dim3 grid = asked->grid, block = asked->block;
    uint64_t threads = (uint64_t)block.x * block.y * block.z;
    if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > INT32_MAX || grid.y > GRID_YZ ||
        grid.z > GRID_YZ || threads == 0 || threads > THREADS_MOST || block.z > BLOCK_Z)
        return cudaErrorInvalidConfiguration;
    size_t fixed = ptx_shared_bytes(kernel->kernel);
    if (asked->shared > 0 && asked->shared + fixed > kernel->shared_most)
        return cudaErrorInvalidValue;
    return cudaSuccess;
}

/* Copies the parameters, as they may change once the launch has been given. */
static void copy_parameters(struct launch *launch, void **parameters)
{
    const struct ptx_kernel *kernel = launch->kernel->kernel;
    size_t at = 0;
    int count = ptx_parameter_count(kernel);
    for (int i = 0; i < count; i++) {
        size_t bytes = ptx_parameter_bytes(kernel, i);
        if (i == PARAMETERS || at + bytes > PARAMETER_BYTES)
            emulator_fail(EMULATOR_MISUSE, "%s has too many parameters", launch->kernel->name);
        memcpy(launch->bytes + at, parameters[i], bytes);
        launch->parameters[i] = launch->bytes + at;
        at += (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    }
    launch->launch.parameters = launch->parameters;
}

static cudaError_t launch_kernel(struct CUkern_st *kernel, const struct configuration *asked,
                                 void **parameters)
{
    ENTER(cudaLaunchKernel);
    runtime_lock();
    bool is_foreign = stream_of(asked->stream, kernel->name)->device != device_now();
    runtime_unlock();
    cudaError_t error = is_foreign ? cudaErrorInvalidResourceHandle : check_launch(kernel, asked);
    if (error != cudaSuccess) return runtime_result(error);
    struct launch *launch = calloc(1, sizeof *launch);
    struct operation *operation = calloc(1, sizeof *operation);
    if (!launch || !operation) abort();
    dim3 grid = asked->grid, block = asked->block;
    launch->kernel = kernel;
    launch->launch = (struct ptx_launch){
        .grid = {grid.x, grid.y, grid.z},
        .block = {block.x, block.y, block.z},
        .shared_bytes = asked->shared,
        .approximate = settings()->approximate,
        .reach = reach,
        .touched = touched,
    };
    copy_parameters(launch, parameters);
    operation->work =
        (struct emulator_work){.name = kernel->name, .run = run_kernel, .argument = launch};
    operation->is_kernel = true;
    return runtime_result(work_give(asked->stream, operation));
}

unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared,
                                     struct CUstream_st *stream)
{
    configured = (struct configuration){grid, block, shared, stream};
    return 0;
}

cudaError_t __cudaPopCallConfiguration(dim3 *grid, dim3 *block, size_t *shared, void *stream)
{
    *grid = configured.grid;
    *block = configured.block;
    *shared = configured.shared;
    *(cudaStream_t *)stream = configured.stream;
    return cudaSuccess;
}

cudaError_t __cudaGetKernel(cudaKernel_t *handle, const void *stub)
{
    return runtime_result(kernel_of(stub, handle));
}

cudaError_t __cudaLaunchKernel(cudaKernel_t handle, dim3 grid, dim3 block, void **parameters,
                               size_t shared, cudaStream_t stream)
{
    struct configuration asked = {grid, block, shared, stream};
    if (!handle || !handle->kernel) return runtime_result(cudaErrorInvalidDeviceFunction);
    return launch_kernel(handle, &asked, parameters);
}

cudaError_t cudaLaunchKernel(const void *stub, dim3 grid, dim3 block, void **parameters,
                             size_t shared, cudaStream_t stream)
{
    struct CUkern_st *kernel;
    cudaError_t error = kernel_of(stub, &kernel);
    if (error != cudaSuccess) return runtime_result(error);
    return __cudaLaunchKernel(kernel, grid, block, parameters, shared, stream);
}

cudaError_t cudaFuncSetAttribute(const void *stub, enum cudaFuncAttribute attribute, int value)
{
    ENTER(cudaFuncSetAttribute);
    struct CUkern_st *kernel;
    cudaError_t error = kernel_of(stub, &kernel);
    if (error != cudaSuccess) return runtime_result(error);
    if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize)
        emulator_fail(EMULATOR_MISUSE, "cudaFuncSetAttribute: attribute %d is unknown here",
                      attribute);
    size_t fixed = ptx_shared_bytes(kernel->kernel);
    if (value < 0 || (size_t)value + fixed > shared_bytes_most())
        return runtime_result(cudaErrorInvalidValue);
    kernel->shared_most = (size_t)value + fixed;
    return cudaSuccess;
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *blocks, const void *stub,
                                                                   int threads, size_t shared,
                                                                   unsigned flags)
{
    enum { THREADS = 2048, BLOCKS = 32 };
    ENTER(cudaOccupancyMaxActiveBlocksPerMultiprocessor);
    struct CUkern_st *kernel;
    cudaError_t error = kernel_of(stub, &kernel);
    if (error != cudaSuccess) return runtime_result(error);
    if (flags != cudaOccupancyDefault || threads < 1) return runtime_result(cudaErrorInvalidValue);
    size_t each = ptx_shared_bytes(kernel->kernel) + shared;
    int most = threads > THREADS_MOST ? 0 : THREADS / threads;
    if (most > BLOCKS) most = BLOCKS;
    if (each > 0 && shared_bytes_most() / each < (size_t)most)
        most = (int)(shared_bytes_most() / each);
    *blocks = most;
    return cudaSuccess;
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, const void *stub,
                                                          int threads, size_t shared)
{
    return cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks, stub, threads, shared,
                                                                  cudaOccupancyDefault);
}
