/* A histogram of times in nanoseconds, exact to 1 %. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Adds a time: from `since`, when something was due or begun, to `until`. Both are in nanoseconds of one clock. */
void times_add(uint64_t since, uint64_t until);

/* Forgets all times so far. */
void times_clear(void);

/* How many times there are, and the most that `percent` of them took; 0 = there is none. */
uint64_t times_count(void);
uint64_t times_percentile(unsigned percent);
