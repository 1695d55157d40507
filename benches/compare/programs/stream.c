#include "stream.h"

#include <errno.h>
#include <openssl/err.h>
#include <unistd.h>

#include "net.h"

static void (*keep_session)(void *owner, SSL_SESSION *session);

static int on_ticket(SSL *ssl, SSL_SESSION *session) {
    keep_session(SSL_get_app_data(ssl), session);
    return 1; /* taken over */
}

static SSL_CTX *tls_1_3(const SSL_METHOD *method) {
    SSL_CTX *context = SSL_CTX_new(method);
    if (!context || !SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) ||
        !SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256") || !SSL_CTX_set1_groups_list(context, "X25519")) {
        fail("SSL_CTX");
    }
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                  SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    /* A record then takes one receive instead of two. */
    SSL_CTX_set_read_ahead(context, 1);
    SSL_CTX_set_quiet_shutdown(context, 1);
    return context;
}

SSL_CTX *tls_client(void (*keep)(void *owner, SSL_SESSION *session)) {
    keep_session = keep;
    SSL_CTX *context = tls_1_3(TLS_client_method());
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context, on_ticket);
    return context;
}

SSL_CTX *tls_server(const char *certificate, const char *key) {
    SSL_CTX *context = tls_1_3(TLS_server_method());
    if (SSL_CTX_use_certificate_chain_file(context, certificate) != 1 ||
        SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1) {
        fail("the certificate");
    }
    return context;
}

void stream_accept_tls(struct stream *stream, SSL_CTX *context) {
    stream->ssl = SSL_new(context);
    if (!stream->ssl || !SSL_set_fd(stream->ssl, stream->fd)) fail("SSL_new");
    SSL_set_accept_state(stream->ssl);
}

void stream_begin_tls(struct stream *stream, SSL_CTX *context, void *owner, SSL_SESSION *session) {
    stream->ssl = SSL_new(context);
    if (!stream->ssl || !SSL_set_fd(stream->ssl, stream->fd)) fail("SSL_new");
    SSL_set_app_data(stream->ssl, owner);
    SSL_set_tlsext_host_name(stream->ssl, "localhost");
    SSL_set_connect_state(stream->ssl);
    if (session) SSL_set_session(stream->ssl, session);
}

static ssize_t meaning(SSL *ssl, int result) {
    switch (SSL_get_error(ssl, result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE: return AGAIN;
    case SSL_ERROR_ZERO_RETURN: return ENDED;
    default: return BROKEN;
    }
}

int stream_secure(struct stream *stream) {
    ERR_clear_error();
    int result = SSL_do_handshake(stream->ssl);
    return result == 1 ? 1 : (int)meaning(stream->ssl, result);
}

ssize_t stream_read(struct stream *stream, void *into, size_t room) {
    if (stream->ssl) {
        ERR_clear_error();
        int got = SSL_read(stream->ssl, into, (int)room);
        return got > 0 ? got : meaning(stream->ssl, got);
    }
    ssize_t got = read(stream->fd, into, room);
    return got >= 0 ? got : errno == EAGAIN ? AGAIN : BROKEN;
}

ssize_t stream_write(struct stream *stream, const struct iovec *parts, int count) {
    if (stream->ssl) {
        ERR_clear_error();
        int sent = SSL_write(stream->ssl, parts->iov_base, (int)parts->iov_len);
        return sent > 0 ? sent : meaning(stream->ssl, sent);
    }
    ssize_t sent = writev(stream->fd, parts, count);
    return sent >= 0 ? sent : errno == EAGAIN ? AGAIN : BROKEN;
}

void stream_close(struct stream *stream) {
    if (stream->ssl) {
        /* With quiet shutdown, this only notes an orderly end. Without it, OpenSSL would not resume the session. */
        SSL_shutdown(stream->ssl);
        SSL_free(stream->ssl);
        stream->ssl = NULL;
    }
    close(stream->fd);
    stream->fd = -1;
}
