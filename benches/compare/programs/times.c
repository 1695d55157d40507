#include "times.h"

#include <string.h>

/* Each power of two is cut into PER_POWER buckets. Each value below PER_POWER has a bucket of its own. */
#define BITS 7
#define PER_POWER (1u << BITS)
#define BUCKETS ((65 - BITS) * PER_POWER)

static uint64_t buckets[BUCKETS], count;

static size_t bucket_of(uint64_t value) {
    if (value < PER_POWER) return value;
    unsigned shift = 63u - (unsigned)__builtin_clzll(value) - BITS;
    return (size_t)(shift + 1) * PER_POWER + ((value >> shift) - PER_POWER);
}

/* The value in the middle of a bucket. */
static uint64_t value_of(size_t bucket) {
    if (bucket < PER_POWER) return bucket;
    unsigned shift = (unsigned)(bucket / PER_POWER) - 1;
    return (PER_POWER + bucket % PER_POWER) << shift | (1ull << shift) >> 1;
}

void times_add(uint64_t since, uint64_t until) {
    buckets[bucket_of(until > since ? until - since : 0)]++;
    count++;
}

void times_clear(void) {
    memset(buckets, 0, sizeof buckets);
    count = 0;
}

uint64_t times_count(void) { return count; }

uint64_t times_percentile(unsigned percent) {
    uint64_t seen = 0, wanted = (count * percent + 99) / 100;
    if (wanted == 0) return 0;
    for (size_t i = 0; i < BUCKETS; i++) {
        seen += buckets[i];
        if (seen >= wanted) return value_of(i);
    }
    return 0;
}
