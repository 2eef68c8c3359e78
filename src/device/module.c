/* SPDX-License-Identifier: Apache-2.0 */
/* Finds and loads the module of CUDA devices.
 *
 * It is looked for in the folder that ZINF_MODULE_FOLDER names, beside the program (a build folder), and
 * where `make install` puts it. What it calls of zinf are functions of the program that loads it,
 * which the program exports; the table below names them so that the linker leaves none out of a
 * program that has no other use for it. */
#include "config.h"
#include "device/module.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/timing.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void *loaded;

#ifdef HAVE_CUDA

#define MODULE "zinf-cuda.so"

enum { PATH_ROOM = 4096 };

/* What the module may call. */
typedef void (*function)(void);
static const function needed[] = {
    (function)zi_fail,        (function)zi_log,           (function)zi_require_failed,
    (function)zi_memory_note, (function)zi_memory_forget, (function)zi_memory_text,
    (function)zi_time_s,
};

/* The folders where the module may be, one after the other: false when there is no further. */
static bool next_path(int number, char *path, size_t size)
{
    const char *folder = getenv("ZINF_MODULE_FOLDER");
    char program[PATH_ROOM];
    if (number == 0) {
        snprintf(path, size, "%s/" MODULE, folder ? folder : MODULE_FOLDER);
        return true;
    }
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    if (folder || number > 1 || length <= 0) return false;
    program[length] = '\0';
    *strrchr(program, '/') = '\0';
    snprintf(path, size, "%s/" MODULE, program);
    return true;
}

/* Opens the first file that is there; why it does not load goes to text. */
static void *open_first(char *text, size_t size)
{
    char path[PATH_ROOM + sizeof MODULE + 1];
    const char *folder = getenv("ZINF_MODULE_FOLDER");
    snprintf(text, size, "no " MODULE " in %s%s", folder ? folder : MODULE_FOLDER,
             folder ? ", which ZINF_MODULE_FOLDER names" : ", nor beside the program");
    for (int i = 0; next_path(i, path, sizeof path); i++) {
        if (access(path, R_OK) != 0) continue;
        void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (!module) snprintf(text, size, "%s", dlerror());
        return module;
    }
    return NULL;
}

static enum zi_status take(void *module, const struct device_backend **backend)
{
    const struct device_module *contents = dlsym(module, "zinf_module");
    if (!contents || strcmp(contents->version, PACKAGE_VERSION) != 0)
        return zi_fail(ZI_ERROR_DEVICE, "device",
                       "device.type: cuda: " MODULE " is of zinf %s, and this is %s: install both "
                       "from one build",
                       contents ? contents->version : "unknown", PACKAGE_VERSION);
    *backend = contents->backend;
    loaded = module;
    return ZI_OK;
}

static enum zi_status load(const struct device_backend **backend)
{
    char why[PATH_ROOM];
    ZI_REQUIRE(needed[0]);
    void *module = open_first(why, sizeof why);
    if (!module)
        return zi_fail(ZI_ERROR_DEVICE, "device",
                       "device.type: cuda: the module of CUDA devices does not load: %s. It needs "
                       "the libraries of CUDA (libcudart, libcublasLt) and NCCL where the loader "
                       "finds them: load the cluster's modules of both, or add their folders to "
                       "LD_LIBRARY_PATH; or use device.type: cpu",
                       why);
    enum zi_status status = take(module, backend);
    if (status < 0) dlclose(module);
    return status;
}
#else
static enum zi_status load(const struct device_backend **backend)
{
    (void)backend;
    return zi_fail(ZI_ERROR_DEVICE, "device",
                   "device.type: cuda: this zinf was built without CUDA (%s), so it can plan for "
                   "such a device (zinf plan, zinf program) and not use one: configure it "
                   "--with-cuda, or use device.type: cpu",
                   CUDA_BUILD);
}
#endif

enum zi_status device_module_load(const struct device_backend **backend)
{
    pthread_mutex_lock(&lock);
    enum zi_status status = load(backend);
    pthread_mutex_unlock(&lock);
    return status;
}

void *device_module_symbol(const char *name)
{
    pthread_mutex_lock(&lock);
    void *symbol = loaded ? dlsym(loaded, name) : NULL;
    pthread_mutex_unlock(&lock);
    return symbol;
}
