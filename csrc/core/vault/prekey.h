/* The 16 KiB of random bytes that the key to all encrypted content comes of. They are locked,
 * and wiped before anything else is: what is encrypted is noise from then on. A key is made of
 * them each time that one is needed, and lives as long as that takes: an attacker who reads
 * memory piece by piece, or with errors in it, has to have all of them. OpenSSH's
 * sshkey_shield_private() does the same. */
#ifndef SECALLOC_PREKEY_H
#define SECALLOC_PREKEY_H

#include "secalloc.h"

enum { PREKEY_BYTES = 16384, PREKEY_KEY = 32 };

/* Have the bytes, new ones if they were wiped; *era names them. Where they cannot be locked, or not
 * have all that sa_require() asks for, SA_UNPROTECTED. [any] */
SA_MUST_USE enum sa_code prekey_have(uint64_t *era, struct sa_why *why);

/* The parts of that: the pages, which are to be locked, and drawing the bytes until they are good,
 * as a wipe may come meanwhile. One thread at a time. [any] */
bool prekey_has_pages(void);
void prekey_set_pages(uint8_t *pages);
SA_MUST_USE bool prekey_is_good(uint64_t *era);
SA_MUST_USE enum sa_code prekey_draw(struct sa_why *why);

/* Make the key of that era: BLAKE2b (RFC 7693) of all of the bytes. False: they were wiped
 * meanwhile. The caller has all signals masked, and wipes the key. [any] */
SA_MUST_USE bool prekey_key(uint64_t era, uint8_t key[PREKEY_KEY]);

/* A number that this process has not had before. [any] */
uint64_t prekey_nonce(void);

/* Overwrite the bytes. [signal] */
void prekey_wipe(void);

/* In a child: it has none of its parent's. [atfork child] */
void prekey_forked(void);

#endif
