/* SPDX-License-Identifier: Apache-2.0 */
/* Letting an encoder make the tokens of all inputs. Private to the room. */
#ifndef ZI_DATA_ENCODE_H
#define ZI_DATA_ENCODE_H

#include "base/file.h"
#include "data/inputs.h"

/* Local, from the main thread. Encodes the inputs of a list in order into a file beside the output
 * of its writer, as int32; *count are all. The spool is read by its `file` and ended by
 * zi_output_discard, in any case. ZI_ERROR_USAGE when nothing comes out; errors of the encoder;
 * ZI_ERROR_IO; ZI_STOPPED. */
enum zi_status inputs_encode(const struct input_list *list, struct zi_output *spool,
                             int64_t *count);

#endif
