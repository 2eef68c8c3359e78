/* SPDX-License-Identifier: Apache-2.0 */
/* `zinf tokenize`: texts to token files. The data room does the work and says what it has written;
 * here the command line becomes a request, and what contradicts itself in it is refused before a
 * file is touched. */
#include <sys/stat.h>

#include "app/commands.h"
#include "base/log.h"
#include "data/tokens.h"

/* A suffix chooses among the files of folders; files that are named are taken whatever it is. */
static enum zi_status check_suffix(const struct tokens_writer *writer)
{
    struct stat info;
    for (int i = 0; i < writer->input_count; i++)
        if (stat(writer->inputs[i], &info) != 0 || S_ISDIR(info.st_mode)) return ZI_OK;
    return zi_fail(
        ZI_ERROR_USAGE, "app",
        "--suffix %s has no effect: it chooses files of folders, and no INPUT is a folder",
        writer->suffix);
}

enum zi_status tokenize_command(struct comm *world, const struct options *options)
{
    (void)world;
    struct tokens_writer writer = {
        .inputs = options->words,
        .input_count = options->word_count,
        .suffix = options_text(options, "--suffix", NULL),
        .path = options_text(options, "--output", NULL),
        .validation_path = options_text(options, "--validation", NULL),
        .validation_share = 0.1,
    };
    ZI_TRY(options_real(options, "--share", 0, 1, &writer.validation_share));
    if (!writer.path)
        return zi_fail(ZI_ERROR_USAGE, "app", "--output FILE says where the tokens go");
    if (options_given(options, "--share") && !writer.validation_path)
        return zi_fail(ZI_ERROR_USAGE, "app", "--share needs --validation FILE to go to");
    if (writer.validation_path && !(writer.validation_share > 0 && writer.validation_share < 1))
        return zi_fail(ZI_ERROR_USAGE, "app", "--share %g leaves one of the files empty",
                       writer.validation_share);
    if (writer.suffix) ZI_TRY(check_suffix(&writer));
    return tokens_write(&writer);
}
