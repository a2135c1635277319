/* A slot whose pages are those of a file in memory, which others read by a descriptor. */
#ifndef SECALLOC_FILE_H
#define SECALLOC_FILE_H

#include "vault/vault.h"

/* As vault_take, of whole pages from the first byte on, in which the file's content is to be put;
 * it goes back with vault_put. `lent` gets its descriptor, for reading. Of size 0: no slot,
 * out->region is NULL, and the file is empty. Failing, nothing is left open. [any] */
SA_MUST_USE enum sa_code vault_take_file(size_t size, unsigned least, struct slot *out,
                                         struct sa_lent *lent, struct sa_why *why);

#endif
