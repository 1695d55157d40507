/* The messages of load: sends them, and checks that exactly the same bytes come back.
 *
 * A message is one masked frame: a stamp of 8 bytes (connection and number), then a fixed pattern. So load notices
 * an echo that is lost, repeated, reordered, damaged or given to another client. */
#pragma once

#include "net.h"
#include "stream.h"

#define HEAD 2048
/* The length of what control texts begin with. */
#define SECRET 23
/* The most messages on their way, per connection, that are timed one by one. */
#define TIMED 32

enum state { UNUSED, CONNECTING, SECURING, UPGRADING, OPEN, CLOSING };

struct connection {
    struct stream stream;
    uint32_t index;
    enum state state;
    /* Input that is looked at as a whole: the head of a 101, a control frame, a plain answer. */
    uint8_t head[HEAD];
    size_t head_length;
    /* Messages to send; messages sent and received so far; bytes of the next one sent and received. */
    unsigned due;
    uint32_t sent, received;
    size_t send_offset, receive_offset;
    /* When the connect or the request began; when each message was due, by its number. */
    uint64_t begun, since[TIMED];
    /* The ticket with which TLS is resumed. */
    SSL_SESSION *session;
    /* With the protocol of docs/resume.md: what control texts begin with, empty without it. How many echoes were
     * acknowledged, and when the first one after that came. */
    char secret[SECRET + 1];
    uint32_t acknowledged;
    uint64_t unacknowledged_since;
};

/* Sets the payload of every message, 16 bytes or more. */
void prepare_messages(size_t payload);

/* Notes that one more message is due, at `since`. With more than TIMED messages on their way, it counts as due at the same
 * time as an earlier one. */
void is_due(struct connection *connection, uint64_t since);

/* Sends the messages that are due, as much as the socket takes, and many small ones at a time. False: the connection is
 * broken. */
bool send_due(struct connection *connection);

/* Checks bytes that came in after the 101. Calls `echoed` for each complete message, with the time when it was due, and
 * `pinged` for each Ping. Answers the Ping itself, and checks control texts. Returns NULL, or what is wrong. */
const char *check_echo(struct connection *connection, const uint8_t *bytes, size_t length,
                       void (*echoed)(struct connection *, uint64_t since), void (*pinged)(struct connection *));

/* Takes what a 101 for a library has behind its head, `length` bytes or fewer so far: the hello. Returns 1 when it is
 * whole, AGAIN, or BROKEN if it is none. */
int take_hello(struct connection *connection, const uint8_t *bytes, size_t length);

/* Acknowledges the echoes of a library's connection: when a quarter of what longwire keeps is new, or a second after the
 * first that is new, or at once if `all`. False: the connection is broken. */
bool acknowledge(struct connection *connection, uint64_t now, bool all);

/* Sends a Close with 1000. CLOSE_1000 is what must come back. */
bool send_close(struct connection *connection);
extern const uint8_t CLOSE_1000[4];
