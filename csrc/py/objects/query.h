/* Questions about the bytes of an Arena or ArenaView: asked while both sides are lent. */
#ifndef SECALLOC_PY_QUERY_H
#define SECALLOC_PY_QUERY_H

#include "objects/span.h"

#include "base/search.h"

/* What is asked, and the answer. */
enum py_question { FIRST, LAST, COUNT, STRIP, STARTS, ENDS, SPLIT, SPLIT_BLANKS };
struct py_query {
    enum py_question question;
    bool left, right; /* STRIP */
    bool backwards;   /* of both SPLITs */
    size_t most;      /* of both: that many cuts */
    struct search_part *parts;
    size_t room;
    struct search_part part; /* STRIP's answer */
    size_t answer; /* FIRST, LAST: where; STARTS, ENDS: 0 or 1; else how many */
};

/* Bytes that bytes.strip() and bytes.split() take for blank. */
#define PY_BLANKS " \t\n\r\v\f"
static inline void py_span_of_blanks(struct py_span *span)
{
    py_span_of_raw((const uint8_t *)PY_BLANKS, sizeof PY_BLANKS - 1, span);
}

/* Ask about the text, a range of an Arena, and `what`, whose foreign code has run. -1 with an
 * exception. */
int py_ask(struct py_span *text, struct py_span *what, struct py_query *q);

/* A view of a part of the text. */
PyObject *py_view_of_part(PyObject *self, const struct py_span *text, size_t start, size_t end);

#endif
