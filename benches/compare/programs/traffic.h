/* The messages of load: what a connection sends, and whether what comes back is exactly that.
 *
 * A message is one masked frame: a stamp of 8 bytes (connection and number), then a fixed pattern. So an echo that is
 * lost, repeated, reordered, damaged or given to another client is seen. */
#pragma once

#include "net.h"
#include "stream.h"

#define HEAD 2048
/* Messages of a connection on their way that are timed each by itself. */
#define TIMED 32

enum state { UNUSED, CONNECTING, SECURING, UPGRADING, OPEN, CLOSING };

struct connection {
    struct stream stream;
    uint32_t index;
    enum state state;
    /* What comes in and is looked at whole: the head of a 101, a control frame, a plain answer. */
    uint8_t head[HEAD];
    size_t head_length;
    /* Messages to send; sent and received so far, and how far into the next of each. */
    unsigned due;
    uint32_t sent, received;
    size_t send_offset, receive_offset;
    /* When the connect or the request began; when each message was due, by its number. */
    uint64_t begun, since[TIMED];
    /* A ticket, to resume TLS with. */
    SSL_SESSION *session;
};

/* Sets the payload of every message, 16 bytes or more. */
void prepare_messages(size_t payload);

/* One more message is due, since then. With more than TIMED on their way it counts as due with an earlier one. */
void is_due(struct connection *connection, uint64_t since);

/* Sends what is due, as much as the socket takes: small messages many at a time. False: the connection is broken. */
bool send_due(struct connection *connection);

/* Checks bytes that came in after the 101. `echoed` is called for each message that is whole, with the time since when
 * it was due, `pinged` for each Ping, which is answered here. Returns NULL or what is wrong. */
const char *check_echo(struct connection *connection, const uint8_t *bytes, size_t length,
                       void (*echoed)(struct connection *, uint64_t since), void (*pinged)(struct connection *));

/* Sends a Close with 1000, and what comes back for it. */
bool send_close(struct connection *connection);
extern const uint8_t CLOSE_1000[4];
