/* Text to bytes and back, in time that depends on lengths, and in decoding on where
 * white space and padding are, but not on any other content.
 *
 * All work in place, so that a secret in an arena never leaves it. */
#ifndef SECALLOC_CODEC_H
#define SECALLOC_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Sizes of the text of `n` bytes. False: too large. [signal] */
bool codec_hex_size(size_t n, size_t *size);
bool codec_base64_size(size_t n, size_t *size);

/* Turn the last `n` of the `size` bytes at `text`, as the function above told their
 * number, into text that fills them all. Hexadecimal digits are small letters; `url`: - and
 * _ stand for + and /. [signal] */
void codec_hex_encode(uint8_t *text, size_t size, size_t n);
void codec_base64_encode(uint8_t *text, size_t size, size_t n, bool url);

/* Turn the `n` characters at `text` into the bytes that they stand for, from there on, and
 * give their number in *size. Returns SIZE_MAX, or the position of the first character
 * that does not belong there, `n` where it ended too early; what it left is then of no
 * use. ASCII white space may stand between the pairs of hexadecimal digits, and anywhere in
 * base64; with `url` the padding there may be missing. Bits that are left over there may have any
 * value. [signal] */
size_t codec_hex_decode(uint8_t *text, size_t n, size_t *size);
size_t codec_base64_decode(uint8_t *text, size_t n, bool url, size_t *size);

#endif
