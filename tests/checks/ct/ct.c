/* A program that runs comparison, codecs and encryption under valgrind with the secret marked
 * undefined: a branch or an index that depends on it is an error there. With an argument it does
 * what must be found out: "branch", a comparison that ends early; "index", a look into a table.
 *
 * Built with -DSECALLOC_CHECK_CT, so that what the code declares public goes by here. */
#include "base/aead.h"
#include "base/blake2b.h"
#include "base/codec.h"
#include "base/ct.h"

#include <stdio.h>
#include <string.h>
#include <valgrind/memcheck.h>

uint64_t ct_public(uint64_t value)
{
    (void)VALGRIND_MAKE_MEM_DEFINED(&value, sizeof value);
    return value;
}

static void hide(void *p, size_t n) { (void)VALGRIND_MAKE_MEM_UNDEFINED(p, n); }

static void show(void *p, size_t n) { (void)VALGRIND_MAKE_MEM_DEFINED(p, n); }

enum { BYTES = 100, ROOM = 400 };
static int wrong;

static void expect(int right, const char *what)
{
    if (!right) {
        printf("%s: wrong result\n", what);
        wrong = 1;
    }
}

/* As ct_equal, but for its end. */
static bool ends_early(const uint8_t *a, const uint8_t *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (a[i] != b[i])
            return false;
    return true;
}

static void fill(uint8_t *bytes)
{
    for (int i = 0; i < BYTES; i++)
        bytes[i] = (uint8_t)(i * 7);
    hide(bytes, BYTES);
}

/* As codec_hex_encode, but for its table. */
static char digit_of(uint8_t byte)
{
    static const char digits[] = "0123456789abcdef";
    return digits[byte & 15];
}

static void compare(void)
{
    uint8_t a[ROOM], b[ROOM];
    fill(a);
    fill(b);
    for (size_t n = 0; n <= BYTES; n++) {
        expect((int)ct_public(ct_equal(a, n, b, n)), "equal");
        expect((int)ct_public((uint64_t)ct_order(a, n, b, n)) == 0, "order");
    }
}

static void base64(bool url)
{
    uint8_t text[ROOM];
    size_t size = 0, chars = 0;
    expect(codec_base64_size(BYTES, &chars), "size");
    fill(text + chars - BYTES);
    codec_base64_encode(text, chars, BYTES, url);
    size_t bad = codec_base64_decode(text, chars, url, &size);
    expect(bad == SIZE_MAX && size == BYTES, "base64");
    show(text, size);
    expect(text[3] == 21 && text[BYTES - 1] == (uint8_t)((BYTES - 1) * 7), "base64 content");
}

/* With white space that was put between, as may be told, and without the padding. */
static void base64_loose(void)
{
    uint8_t text[ROOM], loose[ROOM];
    size_t size = 0, chars = 0, n = 0;
    expect(codec_base64_size(BYTES, &chars), "size");
    fill(text + chars - BYTES);
    codec_base64_encode(text, chars, BYTES, true);
    for (size_t i = 0; i < chars - 2; i++) {
        if (i % 30 == 7)
            loose[n++] = '\n';
        loose[n++] = text[i];
    }
    size_t bad = codec_base64_decode(loose, n, true, &size);
    expect(bad == SIZE_MAX && size == BYTES, "loose base64");
    show(loose, size);
    expect(loose[3] == 21 && loose[BYTES - 1] == (uint8_t)((BYTES - 1) * 7), "loose content");
}

static void hex(void)
{
    uint8_t text[ROOM];
    size_t size = 0;
    fill(text + BYTES);
    codec_hex_encode(text, 2 * BYTES, BYTES);
    size_t bad = codec_hex_decode(text, 2 * BYTES, &size);
    expect(bad == SIZE_MAX && size == BYTES, "hex");
    show(text, size);
    expect(text[3] == 21 && text[BYTES - 1] == (uint8_t)((BYTES - 1) * 7), "hex content");
}

/* Key, content and what the tag should be are secret; a forged tag is refused, too. */
static void encrypt(void)
{
    uint8_t text[ROOM], prekey[ROOM], key[AEAD_KEY], tag[AEAD_TAG];
    const uint8_t nonce[AEAD_NONCE] = {1};
    fill(prekey);
    blake2b_256(key, prekey, BYTES);
    for (size_t n = 0; n <= BYTES; n++) {
        fill(text);
        aead_seal(text, text, n, NULL, key, nonce, tag);
        tag[3] ^= 1;
        expect(!aead_open(text, n, NULL, key, nonce, tag), "a forged tag");
        tag[3] ^= 1;
        expect(aead_open(text, n, NULL, key, nonce, tag), "tag");
    }
    show(text, BYTES);
    expect(text[3] == 21 && text[BYTES - 1] == (uint8_t)((BYTES - 1) * 7), "decrypted content");
}

int main(int argc, char **argv)
{
    uint8_t a[ROOM], b[ROOM];
    fill(a);
    fill(b);
    if (argc > 1 && !strcmp(argv[1], "branch"))
        return !ends_early(a, b, BYTES);
    if (argc > 1)
        return digit_of(a[3]) != '5';
    compare();
    base64(false);
    base64(true);
    base64_loose();
    hex();
    encrypt();
    return wrong;
}
