/* How long things took, to within 1 %: a histogram of nanoseconds. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Notes one that was due, or begun, at `since` and is done at `until`; both in nanoseconds of one clock. */
void times_add(uint64_t since, uint64_t until);

/* Forgets all so far. */
void times_clear(void);

/* How many there are; and what so many percent of them took at most, 0 where there is none. */
uint64_t times_count(void);
uint64_t times_percentile(unsigned percent);
