/* SPDX-License-Identifier: Apache-2.0 */
/* What the writer and the reader of zinf's own token files share. Private to the room. */
#ifndef ZI_DATA_TOKENS_DATASET_H
#define ZI_DATA_TOKENS_DATASET_H

#define TOKENS_DATASET        "/tokens"
#define MASK_DATASET          "/mask"
#define DOCUMENTS_DATASET     "/documents"
#define TOKENS_FORMAT_VERSION 1

#endif
