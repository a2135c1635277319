/* The core's public face: guarded, locked memory for secrets.
 *
 * Pure C11, knows nothing of Python. Sizes and offsets are bytes. Functions
 * marked [any] may be called from any thread at any time outside a signal
 * handler; functions marked [signal] may also run inside one: they take no
 * lock, allocate nothing and save errno.
 *
 * The caller owns every struct that it passes; the core keeps no pointer to one
 * beyond the call, save where a line says so.
 */
#ifndef SECALLOC_H
#define SECALLOC_H

#include "face/arena.h"
#include "face/fatal.h"
#include "face/outlet.h"
#include "face/pool.h"
#include "face/process.h"
#include "face/residue.h"
#include "face/shelter.h"
#include "face/transfer.h"
#include "face/types.h"

#endif
