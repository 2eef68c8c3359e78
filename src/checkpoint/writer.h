/* SPDX-License-Identifier: Apache-2.0 */
/* Private to the checkpoint room: ranges of bytes on their way to places of a file, past the page
 * cache. What is put is copied, so the caller's memory is free again at once, and the disk works
 * while the next range is made. One thread at a time. */
#ifndef ZI_CHECKPOINT_WRITER_H
#define ZI_CHECKPOINT_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct checkpoint_writer;

/* Local. Writes all bytes at an offset, through short writes and signals; 0 or an errno. */
int checkpoint_write_at(int descriptor, const void *values, size_t bytes, int64_t offset);

/* Local. As zi_file_remedy, for a file in the folder of checkpoints. */
const char *checkpoint_remedy(int error);

/* Local. ZI_ERROR_IO, said: a checkpoint's file cannot have so many bytes, for this errno. */
enum zi_status checkpoint_fail_claim(const char *path, int64_t bytes, int error);

/* Local. Opens a writer into an existing regular file. `descriptor`, open for writing, becomes the
 * writer's; it stays the caller's on error. ZI_ERROR_IO, ZI_ERROR_DEVICE. */
enum zi_status writer_open(const char *path, int descriptor, struct checkpoint_writer **writer);

/* Local. Puts `bytes` at `offset`. `label` says what they are in messages, and outlives the writer.
 * ZI_ERROR_IO, said, when these or earlier bytes cannot be written. */
enum zi_status writer_put(struct checkpoint_writer *writer, int64_t offset, const void *values,
                          size_t bytes, const char *label);

/* Local. How it writes: the name of the disk engine, "libaio" or "threads" (disk.h). */
const char *writer_engine(const struct checkpoint_writer *writer);

/* Local. Waits until all is written, and durable where `syncs`; then the writer is gone.
 * ZI_ERROR_IO, said. */
enum zi_status writer_close(struct checkpoint_writer *writer, bool syncs);

#endif
