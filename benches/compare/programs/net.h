/* What load, echo and floor have in common: sockets on loopback, and the words of the little protocol between them. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* One receive takes at most this much. Large enough that a 64 KiB frame costs load and echo one call each. */
#define SCRATCH (256 * 1024)

/* The key of RFC 6455 §1.3 and what follows from it. Every handshake uses this pair, so neither side needs SHA-1: the
 * comparison is about the proxy between them. */
#define KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

/* What echo answers to a plain GET, 64 bytes. */
#define HTTP_BODY "0123456789abcdefghijklmnopqrstuvwxyz, and the same again: 45678\n"

enum opcode { TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10 };

/* Prints what failed, with errno, and ends the program. */
_Noreturn void fail(const char *what);

/* As many open files as the hard limit allows. */
void raise_open_files(void);

/* Timers within a microsecond of their time, not within 50: who times others must not be late itself. */
void wake_exactly(void);

/* A listening socket on 127.0.0.1, not blocking, with TCP_NODELAY for all it accepts. */
int listen_on(int port);

/* A connection to 127.0.0.1, not blocking and perhaps not complete yet, from 127.0.0.(2 + source); the kernel chooses
 * the source if it is negative. */
int connect_to(int port, int source);

/* Takes over fd for edge-triggered events in both directions. With an edge, asking for writability once costs nothing
 * until a send falls short. */
void watch(int epoll, int fd, void *data);

/* CLOCK_MONOTONIC. */
uint64_t now_ns(void);

/* Writes the header of a final frame that is not masked: 2, 4 or 10 bytes. Returns its length. */
size_t frame_header(uint8_t *out, uint8_t first_byte, uint64_t payload);
