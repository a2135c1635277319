/* What encrypts sealed content, against published vectors: ChaCha20, Poly1305 and both together by
 * RFC 8439 and Project Wycheproof, BLAKE2b by RFC 7693's reference. */
#include "base/aead.h"
#include "base/blake2b.h"
#include "base/chacha.h"
#include "base/poly1305.h"
#include "check.h"

enum { ROOM = 1024 };

static size_t unhex(uint8_t *to, const char *hex)
{
    size_t n = strlen(hex) / 2;
    CHECK(n <= ROOM);
    for (size_t i = 0; i < n; i++) {
        unsigned byte;
        CHECK(sscanf(hex + 2 * i, "%2x", &byte) == 1);
        to[i] = (uint8_t)byte;
    }
    return n;
}

static bool is_hex(const uint8_t *bytes, const char *hex)
{
    uint8_t want[ROOM];
    size_t n = unhex(want, hex);
    return !memcmp(bytes, want, n);
}

/* ---- RFC 8439, appendices A.2, A.3 and A.5 -------------------------------------------------- */

#define IETF "ietf"
#define JABBER "jabber"

static size_t content_of(uint8_t *to, const char *hex)
{
    static const char ietf[] =
        "Any submission to the IETF intended by the Contributor for publication as all or part of "
        "an IETF Internet-Draft or RFC and any statement made within the context of an IETF "
        "activity is considered an \"IETF Contribution\". Such statements include oral statements "
        "in IETF sessions, as well as written and electronic communications made at any time or "
        "place, which are addressed to";
    static const char jabber[] =
        "'Twas brillig, and the slithy toves\nDid gyre and gimble in the wabe:\nAll mimsy were "
        "the borogoves,\nAnd the mome raths outgrabe.";
    const char *text = !strcmp(hex, IETF) ? ietf : !strcmp(hex, JABBER) ? jabber : NULL;
    if (!text)
        return unhex(to, hex);
    memcpy(to, text, strlen(text));
    return strlen(text);
}

TEST(chacha20)
{
    static const struct {
        const char *key, *nonce, *content, *encrypted;
        uint32_t block;
    } vectors[] = {
        {"0000000000000000000000000000000000000000000000000000000000000000",
         "000000000000000000000000",
         "000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
         "00000000000000000000000000000000000000000000",
         "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7da41597c5157488d7724"
         "e03fb8d84a376a43b8f41518a11cc387b669b2ee6586",
         0},
        {"0000000000000000000000000000000000000000000000000000000000000001",
         "000000000000000000000002", IETF,
         "a3fbf07df3fa2fde4f376ca23e82737041605d9f4f4f57bd8cff2c1d4b7955ec2a97948bd3722915c8f3"
         "d337f7d370050e9e96d647b7c39f56e031ca5eb6250d4042e02785ececfa4b4bb5e8ead0440e20b6e8db"
         "09d881a7c6132f420e52795042bdfa7773d8a9051447b3291ce1411c680465552aa6c405b7764d5e87be"
         "a85ad00f8449ed8f72d0d662ab052691ca66424bc86d2df80ea41f43abf937d3259dc4b2d0dfb48a6c91"
         "39ddd7f76966e928e635553ba76c5c879d7b35d49eb2e62b0871cdac638939e25e8a1e0ef9d5280fa8ca"
         "328b351c3c765989cbcf3daa8b6ccc3aaf9f3979c92b3720fc88dc95ed84a1be059c6499b9fda236e7e8"
         "18b04b0bc39c1e876b193bfe5569753f88128cc08aaa9b63d1a16f80ef2554d7189c411f5869ca52c5b8"
         "3fa36ff216b9c1d30062bebcfd2dc5bce0911934fda79a86f6e698ced759c3ff9b6477338f3da4f9cd85"
         "14ea9982ccafb341b2384dd902f3d1ab7ac61dd29c6f21ba5b862f3730e37cfdc4fd806c22f221",
         1},
        {"1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0",
         "000000000000000000000002", JABBER,
         "62e6347f95ed87a45ffae7426f27a1df5fb69110044c0d73118effa95b01e5cf166d3df2d721caf9b21e"
         "5fb14c616871fd84c54f9d65b283196c7fe4f60553ebf39c6402c42234e32a356b3e764312a61a553205"
         "5716ead6962568f87d3f3f7704c6a8d1bcd1bf4d50d6154b6da731b187b58dfd728afa36757a797ac188"
         "d1",
         42},
    };
    for (size_t v = 0; v < sizeof vectors / sizeof vectors[0]; v++) {
        uint8_t key[ROOM], nonce[ROOM], text[ROOM];
        SAME(unhex(key, vectors[v].key), 32);
        SAME(unhex(nonce, vectors[v].nonce), 12);
        size_t n = content_of(text, vectors[v].content);
        SAME(2 * n, strlen(vectors[v].encrypted));
        chacha20_xor(text, text, n, key, nonce, vectors[v].block);
        CHECK(is_hex(text, vectors[v].encrypted));
    }
}

TEST(poly1305)
{
    static const struct {
        const char *key, *content, *tag;
    } vectors[] = {
        {"0000000000000000000000000000000000000000000000000000000000000000",
         "000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
         "00000000000000000000000000000000000000000000",
         "00000000000000000000000000000000"},
        {"0000000000000000000000000000000036e5f6b5c5e06070f0efca96227a863e", IETF,
         "36e5f6b5c5e06070f0efca96227a863e"},
        {"36e5f6b5c5e06070f0efca96227a863e00000000000000000000000000000000", IETF,
         "f3477e7cd95417af89a6b8794c310cf0"},
        {"1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0", JABBER,
         "4541669a7eaaee61e708dc7cbcc5eb62"},
        {"0200000000000000000000000000000000000000000000000000000000000000",
         "ffffffffffffffffffffffffffffffff", "03000000000000000000000000000000"},
        {"02000000000000000000000000000000ffffffffffffffffffffffffffffffff",
         "02000000000000000000000000000000", "03000000000000000000000000000000"},
        {"0100000000000000000000000000000000000000000000000000000000000000",
         "fffffffffffffffffffffffffffffffff0ffffffffffffffffffffffffffffff11000000000000000000"
         "000000000000",
         "05000000000000000000000000000000"},
        {"0100000000000000000000000000000000000000000000000000000000000000",
         "fffffffffffffffffffffffffffffffffbfefefefefefefefefefefefefefefe01010101010101010101"
         "010101010101",
         "00000000000000000000000000000000"},
        {"0200000000000000000000000000000000000000000000000000000000000000",
         "fdffffffffffffffffffffffffffffff", "faffffffffffffffffffffffffffffff"},
        {"0100000000000000040000000000000000000000000000000000000000000000",
         "e33594d7505e43b900000000000000003394d7505e4379cd010000000000000000000000000000000000"
         "00000000000001000000000000000000000000000000",
         "14000000000000005500000000000000"},
        {"0100000000000000040000000000000000000000000000000000000000000000",
         "e33594d7505e43b900000000000000003394d7505e4379cd010000000000000000000000000000000000"
         "000000000000",
         "13000000000000000000000000000000"},
    };
    for (size_t v = 0; v < sizeof vectors / sizeof vectors[0]; v++) {
        uint8_t key[ROOM], text[ROOM], tag[16];
        SAME(unhex(key, vectors[v].key), 32);
        size_t n = content_of(text, vectors[v].content);
        for (size_t first = 0; first <= n; first += 16) { /* in two pieces, too */
            struct poly1305 sum;
            poly1305_begin(&sum, key);
            poly1305_add(&sum, text, first);
            poly1305_add(&sum, text + first, n - first);
            poly1305_end(&sum, tag);
            CHECK(is_hex(tag, vectors[v].tag));
        }
    }
}

TEST(rfc_8439_a5)
{
    static const char encrypted[] =
        "64a0861575861af460f062c79be643bd5e805cfd345cf389f108670ac76c8cb24c6cfc18755d43eea09e"
        "e94e382d26b0bdb7b73c321b0100d4f03b7f355894cf332f830e710b97ce98c8a84abd0b948114ad176e"
        "008d33bd60f982b1ff37c8559797a06ef4f0ef61c186324e2b3506383606907b6a7c02b0f9f6157b53c8"
        "67e4b9166c767b804d46a59b5216cde7a4e99040c5a40433225ee282a1b0a06c523eaf4534d7f83fa115"
        "5b0047718cbc546a0d072b04b3564eea1b422273f548271a0bb2316053fa76991955ebd63159434ecebb"
        "4e466dae5a1073a6727627097a1049e617d91d361094fa68f0ff77987130305beaba2eda04df997b714d"
        "6c6f2c29a6ad5cb4022b02709b";
    uint8_t key[ROOM], nonce[ROOM], more[ROOM], text[ROOM], tag[ROOM];
    unhex(key, "1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0");
    unhex(nonce, "000000000102030405060708");
    size_t beside = unhex(more, "f33388860000000000004e91"), n = unhex(text, encrypted);
    unhex(tag, "eead9d67890cbb22392336fea1851f38");
    CHECK(aead_open(text, n, &(struct aead_more){more, beside}, key, nonce, tag));
    static const char begin[] = "Internet-Drafts are draft documents valid for a maximum of six ";
    CHECK(!memcmp(text, begin, strlen(begin)));
}

/* ---- Project Wycheproof; its first is RFC 8439's, section 2.8.2 ----------------------------- */

static const struct vector {
    int number;
    const char *key, *nonce, *more, *content, *encrypted, *tag;
    bool valid;
} wycheproof[] = {
#include "wycheproof/chacha20_poly1305.inc"
};

static void try_vector(const struct vector *v)
{
    uint8_t key[ROOM], nonce[ROOM], more[ROOM], content[ROOM], encrypted[ROOM], tag[ROOM];
    uint8_t work[ROOM], made[16];
    SAME(unhex(key, v->key), 32);
    SAME(unhex(nonce, v->nonce), 12);
    SAME(unhex(tag, v->tag), 16);
    const struct aead_more beside = {more, unhex(more, v->more)};
    size_t n = unhex(content, v->content);
    SAME(unhex(encrypted, v->encrypted), n);
    memcpy(work, content, n);
    aead_seal(work, work, n, &beside, key, nonce, made);
    CHECK(memcmp(work, encrypted, n) == 0 && (memcmp(made, tag, 16) == 0) == v->valid);
    memcpy(work, encrypted, n);
    CHECK(aead_open(work, n, &beside, key, nonce, tag) == v->valid);
    CHECK(!memcmp(work, v->valid ? content : encrypted, n)); /* refused: as it was */
}

TEST(wycheproof)
{
    int valid = 0, all = (int)(sizeof wycheproof / sizeof wycheproof[0]);
    for (int i = 0; i < all; i++) {
        try_vector(&wycheproof[i]);
        valid += wycheproof[i].valid;
    }
    SAME(all, 316);
    SAME(valid, 256);
}

/* ---- of any size -------------------------------------------------------------------------- */

/* Back and forth, any bit that is changed is found out, and not a byte beside is touched. */
TEST(any_size)
{
    static uint8_t text[ROOM + 2], want[ROOM];
    const uint8_t key[32] = {1, 2, 3}, nonce[12] = {4};
    uint8_t tag[16];
    for (size_t n = 0; n < 600; n++) {
        memset(text, 0xa5, sizeof text);
        for (size_t i = 0; i < n; i++)
            text[1 + i] = want[i] = (uint8_t)(i * 5 + n);
        aead_seal(text + 1, text + 1, n, NULL, key, nonce, tag);
        CHECK(n < 16 || memcmp(text + 1, want, n));
        size_t bit = n ? n * 31 % (8 * n) : 0;
        if (n) {
            text[1 + bit / 8] ^= (uint8_t)(1 << bit % 8);
            CHECK(!aead_open(text + 1, n, NULL, key, nonce, tag));
            text[1 + bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
        tag[n % 16] ^= 0x80;
        CHECK(!aead_open(text + 1, n, NULL, key, nonce, tag));
        tag[n % 16] ^= 0x80;
        CHECK(aead_open(text + 1, n, NULL, key, nonce, tag));
        CHECK(!memcmp(text + 1, want, n));
        CHECK(text[0] == 0xa5 && text[1 + n] == 0xa5);
    }
}

/* ---- the hash ------------------------------------------------------------------------------- */

TEST(blake2b)
{
    static uint8_t text[16385], all[303 * 32];
    uint8_t digest[32];
    blake2b_256(digest, (const uint8_t *)"abc", 3);
    CHECK(is_hex(digest, "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319"));
    /* Digests of every size up to 299, of 16 KiB and one byte to either side, hashed together;
     * what they come to is Python's hashlib's answer. */
    for (size_t i = 0; i < 303; i++) {
        size_t n = i < 300 ? i : 16383 + (i - 300 + 1) % 3;
        for (size_t k = 0; k < n; k++)
            text[k] = (uint8_t)(k * 7 + n);
        blake2b_256(all + 32 * i, text, n);
    }
    blake2b_256(digest, all, sizeof all);
    CHECK(is_hex(digest, "581ff3394cac9b8794e0a4d94e1cf683245cd916b08d304974e732d23810cc9e"));
}

int main(int argc, char **argv)
{
    check_begin("test_aead", argc, argv);
    RUN(chacha20);
    RUN(poly1305);
    RUN(rfc_8439_a5);
    RUN(wycheproof);
    RUN(any_size);
    RUN(blake2b);
    return check_end();
}
