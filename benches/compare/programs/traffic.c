#define _GNU_SOURCE
#include "traffic.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Frames with a payload up to this size are copied together and sent by one call. */
#define SMALL 4096
#define BATCH 16
#define STAMP 8
#define MASKED 0x80
/* What longwire keeps by default until it is acknowledged, and nanoseconds. */
#define KEPT 65536
#define SECOND 1000000000u

const uint8_t CLOSE_1000[4] = {0x80 | CLOSE, 2, 0x03, 0xe8};

/* The masking key of every frame. A real client draws one for each frame, but no proxy here reads it. */
static const uint8_t key[4] = {0x37, 0xfa, 0x21, 0x3d};

static size_t payload_length, body_length;
/* The pattern behind the stamp, as it comes back and as it is sent. */
static uint8_t *body, *masked_body;
/* Header and stamp are built for each message. These are the lengths of both together, and those of whole frames. */
static size_t sent_head, received_head, sent_frame, received_frame;

void prepare_messages(size_t payload) {
    uint8_t header[10];
    payload_length = payload;
    body_length = payload - STAMP;
    received_head = frame_header(header, 0, payload) + STAMP;
    sent_head = received_head + sizeof key;
    sent_frame = sent_head + body_length;
    received_frame = received_head + body_length;
    body = malloc(body_length);
    masked_body = malloc(body_length);
    if (!body || !masked_body) fail("malloc");
    uint32_t random = 1;
    for (size_t i = 0; i < body_length; i++) {
        random = random * 1664525u + 1013904223u;
        body[i] = (uint8_t)(random >> 24);
        masked_body[i] = body[i] ^ key[i & 3]; /* the length of the stamp is a multiple of that of the key */
    }
}

/* Header and stamp of message `number`, as sent (masked) or as it comes back. */
static void write_head(const struct connection *connection, uint32_t number, bool masked, uint8_t *out) {
    size_t header = frame_header(out, 0x80 | BINARY, payload_length);
    uint8_t *stamp = out + header;
    if (masked) {
        out[1] |= MASKED;
        memcpy(stamp, key, sizeof key);
        stamp += sizeof key;
    }
    memcpy(stamp, &connection->index, 4);
    memcpy(stamp + 4, &number, 4);
    for (size_t i = 0; masked && i < STAMP; i++) stamp[i] ^= key[i & 3];
}

/* Writes `frames` small frames, the first from `send_offset` on. */
static ssize_t write_small(struct connection *connection, unsigned frames) {
    static uint8_t batch[BATCH * (SMALL + 32)];
    uint8_t *out = batch;
    for (unsigned i = 0; i < frames; i++) {
        write_head(connection, connection->sent + i, true, out);
        memcpy(out + sent_head, masked_body, body_length);
        out += sent_frame;
    }
    size_t offset = connection->send_offset;
    struct iovec part = {batch + offset, (size_t)(out - batch) - offset};
    return stream_write(&connection->stream, &part, 1);
}

/* Writes one large frame from `send_offset` on. Its body is not copied. */
static ssize_t write_large(struct connection *connection) {
    uint8_t head[32];
    write_head(connection, connection->sent, true, head);
    size_t offset = connection->send_offset;
    size_t into_head = offset < sent_head ? offset : sent_head;
    size_t into_body = offset - into_head;
    struct iovec parts[2] = {{head + into_head, sent_head - into_head},
                             {masked_body + into_body, body_length - into_body}};
    return stream_write(&connection->stream, parts, 2);
}

void is_due(struct connection *connection, uint64_t since) {
    uint32_t number = connection->sent + connection->due++;
    if (number - connection->received < TIMED) connection->since[number % TIMED] = since;
}

bool send_due(struct connection *connection) {
    bool small = payload_length <= SMALL;
    while (connection->due > 0) {
        unsigned frames = !small ? 1 : connection->due < BATCH ? connection->due : BATCH;
        size_t wanted = frames * sent_frame - connection->send_offset;
        ssize_t written = small ? write_small(connection, frames) : write_large(connection);
        if (written == AGAIN) return true;
        if (written <= 0) return false;
        size_t offset = connection->send_offset + (size_t)written;
        unsigned whole = (unsigned)(offset / sent_frame);
        connection->sent += whole;
        connection->due -= whole;
        connection->send_offset = offset % sent_frame;
        if ((size_t)written < wanted) return true;
    }
    return true;
}

static bool send_control(struct connection *connection, enum opcode opcode, const uint8_t *payload, size_t length) {
    uint8_t frame[6 + 125] = {0x80 | opcode, (uint8_t)(MASKED | length)};
    memcpy(frame + 2, key, sizeof key);
    for (size_t i = 0; i < length; i++) frame[6 + i] = payload[i] ^ key[i & 3];
    struct iovec part = {frame, 6 + length};
    return stream_write(&connection->stream, &part, 1) == (ssize_t)part.iov_len;
}

bool send_close(struct connection *connection) { return send_control(connection, CLOSE, CLOSE_1000 + 2, 2); }

int take_hello(struct connection *connection, const uint8_t *bytes, size_t length) {
    /* A hello has from 126 to 2,048 bytes. */
    if (length < 4) return AGAIN;
    if (bytes[0] != (0x80 | TEXT) || bytes[1] != 126) return BROKEN;
    size_t payload = (size_t)bytes[2] << 8 | bytes[3];
    if (length < 4 + payload) return AGAIN;
    static const char name[] = "\"secret\":\"";
    const char *hello = (const char *)bytes + 4;
    const char *secret = memmem(hello, payload, name, sizeof name - 1);
    /* The backend sends nothing before it gets a message. */
    bool whole = secret && secret + sizeof name + SECRET <= hello + payload && length == 4 + payload;
    if (!whole || !memmem(hello, payload, "\"resume\":\"on\"", 13)) return BROKEN;
    memcpy(connection->secret, secret + sizeof name - 1, SECRET);
    connection->acknowledged = 0;
    connection->unacknowledged_since = 0;
    return 1;
}

bool acknowledge(struct connection *connection, uint64_t now, bool all) {
    uint32_t new = connection->received - connection->acknowledged;
    if (!connection->secret[0] || new == 0) return true;
    if (!connection->unacknowledged_since) connection->unacknowledged_since = now;
    bool is_due = all || new * (payload_length + 16) >= KEPT / 4 || now - connection->unacknowledged_since >= SECOND;
    /* A control text cannot stand inside a message. */
    if (!is_due || connection->send_offset) return true;
    char text[SECRET + 16];
    int length = snprintf(text, sizeof text, "%s%u", connection->secret, connection->received);
    connection->acknowledged = connection->received;
    connection->unacknowledged_since = 0;
    return send_control(connection, TEXT, (const uint8_t *)text, (size_t)length);
}

/* What longwire says in a control text: how many messages it has passed on. */
static bool is_right(const struct connection *connection, const uint8_t *text, size_t length) {
    if (!connection->secret[0] || length <= SECRET || memcmp(text, connection->secret, SECRET) != 0) return false;
    uint64_t passed_on = 0;
    for (size_t i = SECRET; i < length; i++) {
        if (text[i] < '0' || text[i] > '9') return false;
        passed_on = passed_on * 10 + (uint64_t)(text[i] - '0');
    }
    /* A message counts as sent from its first byte on, because it may come in before its call has returned. */
    return passed_on <= connection->sent + (connection->send_offset > 0);
}

/* Collects a control frame or a control text, and answers a Ping. Returns how many bytes it used. */
static size_t take_control(struct connection *connection, const uint8_t *bytes, size_t length, const char **wrong,
                           void (*pinged)(struct connection *)) {
    uint8_t *frame = connection->head;
    for (size_t used = 0; used < length;) {
        frame[connection->head_length++] = bytes[used++];
        bool is_text = frame[0] == (0x80 | TEXT) && connection->secret[0];
        if (connection->head_length == 1 && !is_text && frame[0] != (0x80 | PING)) {
            *wrong = "a frame that nobody sent";
            return used;
        }
        if (connection->head_length < 2) continue;
        if (frame[1] > 125) {
            *wrong = "a control frame or text with a mask or a long payload";
            return used;
        }
        if (connection->head_length < 2u + frame[1]) continue;
        connection->head_length = 0;
        if (is_text) {
            if (!is_right(connection, frame + 2, frame[1])) *wrong = "a control text that is not right";
            return used;
        }
        pinged(connection);
        /* A Ping comes only to a quiet client, so no frame of ours is half sent. */
        bool answered = connection->send_offset == 0 && send_control(connection, PONG, frame + 2, frame[1]);
        if (!answered) *wrong = "a Ping that could not be answered";
        return used;
    }
    return length;
}

const char *check_echo(struct connection *connection, const uint8_t *bytes, size_t length,
                       void (*echoed)(struct connection *, uint64_t since), void (*pinged)(struct connection *)) {
    const char *wrong = NULL;
    while (length > 0) {
        bool at_boundary = connection->receive_offset == 0;
        bool in_control = connection->head_length > 0 || (at_boundary && bytes[0] != (0x80 | BINARY));
        if (in_control) {
            size_t used = take_control(connection, bytes, length, &wrong, pinged);
            if (wrong) return wrong;
            bytes += used;
            length -= used;
            continue;
        }
        if (connection->received == connection->sent && !connection->due) return "an echo of nothing";
        uint8_t head[32];
        const uint8_t *expected;
        size_t left, offset = connection->receive_offset;
        if (offset < received_head) {
            write_head(connection, connection->received, false, head);
            expected = head + offset;
            left = received_head - offset;
        } else {
            expected = body + (offset - received_head);
            left = received_frame - offset;
        }
        size_t part = length < left ? length : left;
        if (memcmp(bytes, expected, part) != 0) return "an echo that differs";
        bytes += part;
        length -= part;
        connection->receive_offset += part;
        if (connection->receive_offset == received_frame) {
            connection->receive_offset = 0;
            echoed(connection, connection->since[connection->received++ % TIMED]);
        }
    }
    return NULL;
}
