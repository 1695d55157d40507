/* echo PORT [CERTIFICATE KEY]: the backend, over TLS 1.3 with a certificate. It upgrades every WebSocket handshake that brings the sample key, sends every frame back
 * unmasked as its bytes arrive, answers a Ping with its Pong and a Close with the same Close, then closes. Any other GET
 * gets a small body. It trusts its callers, because it is a measuring tool on loopback and no server for real use. */
#define _GNU_SOURCE
#include "net.h"
#include "stream.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS 512
#define HEAD 2048

struct connection {
    struct stream stream;
    bool secured, upgraded, ended, closing, hung_up;
    /* The part of a request's head that has come, later the part of a frame's header. */
    uint8_t head[HEAD];
    size_t head_length;
    /* The current frame: the payload bytes to come, its key turned to the next of them, and whether it is sent back. */
    uint64_t remaining;
    uint8_t key[4];
    bool sent_back, is_close;
    /* The bytes that the other side has not taken yet. */
    uint8_t *pending;
    size_t pending_length, pending_taken;
};

static uint8_t input[SCRATCH];
/* A header that goes out is never longer than the one that came in. At most 14 bytes of that came in an earlier read. */
static uint8_t output[SCRATCH + 14];

static const char UPGRADED[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                               "Sec-WebSocket-Accept: " ACCEPT "\r\n\r\n";
static const char REFUSED[] = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
static char plain_answer[256];
/* NULL: the backend speaks plain TCP. */
static SSL_CTX *tls;

static void close_connection(struct connection *connection) {
    stream_close(&connection->stream);
    free(connection->pending);
    connection->ended = true;
}

static ssize_t send_some(struct connection *connection, const void *bytes, size_t length) {
    struct iovec part = {.iov_base = (void *)bytes, .iov_len = length};
    return stream_write(&connection->stream, &part, 1);
}

/* Sends, and keeps the bytes that the socket does not take. */
static void send_out(struct connection *connection, const void *bytes, size_t length) {
    if (length == 0) return;
    ssize_t sent = send_some(connection, bytes, length);
    if (sent <= 0 && sent != AGAIN) return close_connection(connection);
    size_t taken = sent < 0 ? 0 : (size_t)sent;
    if (taken == length) return;
    connection->pending = malloc(length - taken);
    if (!connection->pending) fail("malloc");
    memcpy(connection->pending, (const uint8_t *)bytes + taken, length - taken);
    connection->pending_length = length - taken;
    connection->pending_taken = 0;
}

static bool flush(struct connection *connection) {
    if (!connection->pending) return true;
    size_t left = connection->pending_length - connection->pending_taken;
    ssize_t sent = send_some(connection, connection->pending + connection->pending_taken, left);
    if (sent <= 0) {
        if (sent != AGAIN) close_connection(connection);
        return false;
    }
    connection->pending_taken += (size_t)sent;
    if ((size_t)sent < left) return false;
    free(connection->pending);
    connection->pending = NULL;
    return true;
}

/* XORs in words of eight bytes. `key` is turned so that it fits the byte after the last. */
static void unmask(uint8_t *out, const uint8_t *in, size_t length, uint8_t key[4]) {
    uint32_t word;
    memcpy(&word, key, 4);
    uint64_t wide = (uint64_t)word << 32 | word;
    size_t i = 0;
    for (; i + 8 <= length; i += 8) {
        uint64_t eight;
        memcpy(&eight, in + i, 8);
        eight ^= wide;
        memcpy(out + i, &eight, 8);
    }
    for (size_t j = 0; i + j < length; j++) out[i + j] = in[i + j] ^ key[j & 3];
    uint8_t turned[4];
    for (size_t j = 0; j < 4; j++) turned[j] = key[(length + j) & 3];
    memcpy(key, turned, 4);
}

/* Collects the header of a frame, and returns how many bytes it used. When the header is complete, it sets `remaining` and
 * the like, and appends the header of the answer to `out`. */
static size_t take_header(struct connection *connection, const uint8_t *in, size_t length, uint8_t **out) {
    size_t used = 0;
    uint8_t *head = connection->head;
    while (used < length) {
        head[connection->head_length++] = in[used++];
        if (connection->head_length < 2) continue;
        size_t length_bytes = (head[1] & 127) == 126 ? 2 : (head[1] & 127) == 127 ? 8 : 0;
        if (connection->head_length < 2 + length_bytes + 4) continue;
        uint64_t payload = head[1] & 127;
        if (length_bytes) payload = 0;
        for (size_t i = 0; i < length_bytes; i++) payload = payload << 8 | head[2 + i];
        memcpy(connection->key, head + 2 + length_bytes, 4);
        uint8_t opcode = head[0] & 15;
        connection->remaining = payload;
        connection->sent_back = opcode != PONG;
        connection->is_close = opcode == CLOSE;
        if (connection->sent_back) *out += frame_header(*out, opcode == PING ? 0x80 | PONG : head[0], payload);
        connection->head_length = 0;
        connection->closing = connection->is_close && payload == 0;
        break;
    }
    return used;
}

static void echo_frames(struct connection *connection, const uint8_t *in, size_t length) {
    uint8_t *out = output;
    while (length > 0 && !connection->closing) {
        if (connection->remaining == 0) {
            size_t used = take_header(connection, in, length, &out);
            in += used;
            length -= used;
            continue;
        }
        size_t part = length < connection->remaining ? length : (size_t)connection->remaining;
        if (connection->sent_back) {
            unmask(out, in, part, connection->key);
            out += part;
        }
        in += part;
        length -= part;
        connection->remaining -= part;
        connection->closing = connection->is_close && connection->remaining == 0;
    }
    send_out(connection, output, (size_t)(out - output));
}

/* Answers each complete head. The bytes behind an upgrade are frames. */
static void take_head(struct connection *connection, const uint8_t *in, size_t length) {
    if (connection->head_length + length >= HEAD) return close_connection(connection);
    memcpy(connection->head + connection->head_length, in, length);
    connection->head_length += length;
    connection->head[connection->head_length] = 0;
    char *end = strstr((char *)connection->head, "\r\n\r\n");
    if (!end) return;
    size_t behind = connection->head_length - (size_t)(end + 4 - (char *)connection->head);
    connection->head_length = 0;
    if (!strcasestr((char *)connection->head, "\r\nupgrade: websocket\r\n")) {
        return send_out(connection, plain_answer, strlen(plain_answer));
    }
    if (!strstr((char *)connection->head, KEY)) return send_out(connection, REFUSED, sizeof REFUSED - 1);
    connection->upgraded = true;
    send_out(connection, UPGRADED, sizeof UPGRADED - 1);
    if (behind > 0) {
        uint8_t frames[HEAD];
        memcpy(frames, end + 4, behind);
        echo_frames(connection, frames, behind);
    }
}

/* Reads until there is no more, or until the other side does not take the answer. */
static void serve(struct connection *connection) {
    if (!connection->secured) {
        int secured = stream_secure(&connection->stream);
        if (secured == AGAIN) return;
        if (secured != 1) return close_connection(connection);
        connection->secured = true;
    }
    while (!connection->ended && flush(connection)) {
        if (connection->closing) return close_connection(connection);
        ssize_t got = stream_read(&connection->stream, input, sizeof input);
        if (got == AGAIN) return;
        if (got <= 0) return close_connection(connection);
        if (connection->upgraded) {
            echo_frames(connection, input, (size_t)got);
        } else {
            take_head(connection, input, (size_t)got);
        }
        /* TLS reads ahead, and gives one record at a time. */
        bool more = (size_t)got == sizeof input || connection->hung_up || connection->closing || tls;
        if (!more) return;
    }
}

static void accept_all(int epoll, int listener) {
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) return;
        struct connection *connection = calloc(1, sizeof *connection);
        if (!connection) fail("calloc");
        connection->stream.fd = fd;
        connection->secured = !tls;
        if (tls) stream_accept_tls(&connection->stream, tls);
        watch(epoll, fd, connection);
    }
}

int main(int count, char **arguments) {
    if (count != 2 && count != 4) {
        fprintf(stderr, "usage: echo PORT [CERTIFICATE KEY] (on 127.0.0.1)\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    raise_open_files();
    if (count == 4) tls = tls_server(arguments[2], arguments[3]);
    snprintf(plain_answer, sizeof plain_answer,
             "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n\r\n%s", strlen(HTTP_BODY),
             HTTP_BODY);
    int listener = listen_on(atoi(arguments[1]));
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    watch(epoll, listener, NULL);
    for (;;) {
        struct epoll_event events[EVENTS];
        int ready = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            struct connection *connection = events[i].data.ptr;
            if (!connection) {
                accept_all(epoll, listener);
                continue;
            }
            connection->hung_up |= (events[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
            serve(connection);
            /* The connection has one socket, which is watched once, so no other event of this batch names it. */
            if (connection->ended) free(connection);
        }
    }
}
