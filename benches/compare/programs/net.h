/* The code that the programs share: sockets on loopback, and the words of the little protocol between load and echo. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The most bytes of one receive. It is so large that a 64 KiB frame costs load and echo one call each. */
#define SCRATCH (256 * 1024)

/* The key of RFC 6455 §1.3, and the right answer to it. Every handshake uses this pair, so neither side needs SHA-1,
 * because the comparison is about the proxy between them. */
#define KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

/* The answer of echo to a plain GET, 64 bytes. */
#define HTTP_BODY "0123456789abcdefghijklmnopqrstuvwxyz, and the same again: 45678\n"

enum opcode { TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10 };

/* Prints what failed, with errno, and ends the program. */
_Noreturn void fail(const char *what);

/* Raises the limit of open files to the hard limit. */
void raise_open_files(void);

/* Makes timers exact to a microsecond and not only to 50, because a program that times others must not be late itself. */
void wake_exactly(void);

/* A listening socket on 127.0.0.1. It does not block, and all connections that it accepts have TCP_NODELAY. */
int listen_on(int port);

/* A connection to 127.0.0.1 from 127.0.0.(2 + source). It does not block, and may not be complete yet. If `source` is
 * negative, the kernel chooses the source. */
int connect_to(int port, int source);

/* Watches fd for edge-triggered events in both directions. With edges, writability can be asked for once, and then costs
 * nothing until a send falls short. */
void watch(int epoll, int fd, void *data);

/* The time of CLOCK_MONOTONIC. */
uint64_t now_ns(void);

/* Writes the header of a final frame without a mask. Returns its length: 2, 4 or 10 bytes. */
size_t frame_header(uint8_t *out, uint8_t first_byte, uint64_t payload);
