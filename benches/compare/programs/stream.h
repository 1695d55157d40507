/* One connection of load or echo, plain or TLS 1.3. */
#pragma once

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

struct stream {
    int fd;
    SSL *ssl; /* NULL: plain */
};

/* The results of a call other than a count of bytes. */
enum { ENDED = 0, BROKEN = -1, AGAIN = -2 };

/* A TLS client like that of browsers: TLS 1.3, X25519, AES-128-GCM, the same with every proxy. `keep` gets each ticket
 * and owns it from then on. The owner of the stream is the app data of the connection. */
SSL_CTX *tls_client(void (*keep)(void *owner, SSL_SESSION *session));

/* The TLS of a backend, the same for every proxy: TLS 1.3, X25519, AES-128-GCM, with tickets. */
SSL_CTX *tls_server(const char *certificate, const char *key);

/* Begins TLS on an accepted stream. */
void stream_accept_tls(struct stream *stream, SSL_CTX *context);

/* Begins TLS on a connected stream, resuming `session` unless it is NULL. */
void stream_begin_tls(struct stream *stream, SSL_CTX *context, void *owner, SSL_SESSION *session);

/* Goes on with the TLS handshake. Returns 1 when it is done, otherwise AGAIN or BROKEN. */
int stream_secure(struct stream *stream);

ssize_t stream_read(struct stream *stream, void *into, size_t room);

/* Writes the parts one after another; TLS takes only the first. After a short count, wait for EPOLLOUT. */
ssize_t stream_write(struct stream *stream, const struct iovec *parts, int count);

/* Closes the socket. Sends no close_notify, and keeps the session good for resumption. */
void stream_close(struct stream *stream);
