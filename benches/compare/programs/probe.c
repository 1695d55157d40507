/* probe handshake|echo|ping --port PORT: how long one of these takes through a proxy that others load meanwhile.
 *
 *   handshake  connect, upgrade, Close, read to the end; timed from the connect to the 101
 *   echo       a message of 64 B on a session that is already open; timed to its echo
 *   ping       the same with a Ping and its Pong
 *
 * RATE of them begin each second on a fixed schedule, whether earlier ones have come back or not. Each is timed from the
 * moment at which it was due. Obeys lines as load does: `go`, `pause`, `count`, `quit`; `count` writes the figures since
 * the start. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "net.h"
#include "times.h"

#define RATE 200
/* The most handshakes, or sessions, at a time. */
#define SLOTS 256
#define EVENTS 256
#define HEAD 2048
#define PAYLOAD 64

enum kind { HANDSHAKE, ECHO, PINGS };
enum state { FREE, CONNECTING, UPGRADING, OPEN, WAITING, CLOSING };

struct slot {
    int fd;
    enum state state;
    uint64_t due;
    uint8_t in[HEAD];
    size_t length;
};

static enum kind kind;
static int port, epoll, open_sessions;
static struct slot slots[SLOTS];
static bool running, told_ready, quitting;
static uint64_t next_due, done, errors, on_their_way;

static const char UPGRADE[] = "GET /probe HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                              "Sec-WebSocket-Key: " KEY "\r\nSec-WebSocket-Version: 13\r\n\r\n";
/* The mask is all zeros, because no proxy here looks at the payload. */
static const uint8_t CLOSE_FRAME[] = {0x80 | CLOSE, 0x80 | 2, 0, 0, 0, 0, 0x03, 0xe8};
static uint8_t asked[6 + PAYLOAD], answer[2 + PAYLOAD];

static void give_up(struct slot *slot, const char *why) {
    if (errors++ < 5) fprintf(stderr, "probe: in state %d: %s\n", slot->state, why);
    if (slot->due) on_their_way--;
    close(slot->fd);
    *slot = (struct slot){.fd = -1};
}

static void write_all(struct slot *slot, const void *bytes, size_t length) {
    if (send(slot->fd, bytes, length, MSG_NOSIGNAL) != (ssize_t)length) give_up(slot, "bytes that were not taken");
}

static void open_slot(struct slot *slot) {
    *slot = (struct slot){.fd = connect_to(port, -1), .state = CONNECTING};
    watch(epoll, slot->fd, slot);
}

static void came_back(struct slot *slot) {
    times_add(slot->due, now_ns());
    done++;
    on_their_way--;
    slot->due = 0;
}

static void upgraded(struct slot *slot) {
    slot->length = 0;
    if (kind != HANDSHAKE) {
        slot->state = OPEN;
        open_sessions++;
        return;
    }
    came_back(slot);
    slot->state = CLOSING;
    write_all(slot, CLOSE_FRAME, sizeof CLOSE_FRAME);
}

/* Looks at all bytes that have come so far. They are in `in`, with a NUL behind them. */
static void take(struct slot *slot) {
    if (slot->state == UPGRADING) {
        if (!strstr((char *)slot->in, "\r\n\r\n")) return;
        bool accepted = strncmp((char *)slot->in, "HTTP/1.1 101 ", 13) == 0 && strstr((char *)slot->in, ACCEPT);
        return accepted ? upgraded(slot) : give_up(slot, "a handshake that was refused");
    }
    if (slot->state == CLOSING) return;
    if (slot->state != WAITING || slot->length > sizeof answer || memcmp(slot->in, answer, slot->length) != 0) {
        return give_up(slot, "bytes that nobody asked for");
    }
    if (slot->length < sizeof answer) return;
    slot->length = 0;
    slot->state = OPEN;
    came_back(slot);
}

static void ended(struct slot *slot) {
    if (slot->state != CLOSING || slot->length == 0) return give_up(slot, "an end that nobody asked for");
    close(slot->fd);
    *slot = (struct slot){.fd = -1};
}

static void handle(struct slot *slot, uint32_t events) {
    if (slot->state == FREE) return;
    if (slot->state == CONNECTING && (events & EPOLLOUT)) {
        slot->state = UPGRADING;
        write_all(slot, UPGRADE, sizeof UPGRADE - 1);
    }
    while (slot->state != FREE && (events & EPOLLIN)) {
        ssize_t got = recv(slot->fd, slot->in + slot->length, HEAD - 1 - slot->length, 0);
        if (got < 0 && errno == EAGAIN) return;
        if (got <= 0) return ended(slot);
        slot->length += (size_t)got;
        slot->in[slot->length] = 0;
        take(slot);
    }
}

static struct slot *idle_slot(void) {
    static size_t turn;
    for (size_t i = 0; i < SLOTS; i++) {
        struct slot *slot = &slots[turn = (turn + 1) % SLOTS];
        if (slot->state == (kind == HANDSHAKE ? FREE : OPEN)) return slot;
    }
    return NULL;
}

/* Begins those that are due, and returns how long to wait for the next one. If all slots are taken, they begin later, but
 * are still timed from the moment when they were due. */
static struct timespec keep_schedule(void) {
    const uint64_t interval = 1000000000u / RATE;
    uint64_t now = now_ns();
    for (struct slot *slot; next_due <= now; next_due += interval) {
        slot = idle_slot();
        if (!slot) return (struct timespec){.tv_nsec = 1000000};
        if (kind == HANDSHAKE) open_slot(slot);
        slot->due = next_due;
        on_their_way++;
        if (kind != HANDSHAKE) {
            slot->state = WAITING;
            write_all(slot, asked, sizeof asked);
        }
    }
    return (struct timespec){.tv_nsec = (long)(next_due - now)};
}

static void tell(void) {
    printf("done=%lu errors=%lu on_their_way=%lu p50_ns=%lu p99_ns=%lu\n", done, errors, on_their_way,
           times_percentile(50), times_percentile(99));
}

static void obey(void) {
    char line[32];
    if (!fgets(line, sizeof line, stdin) || strcmp(line, "quit\n") == 0) {
        quitting = true;
    } else if (strcmp(line, "go\n") == 0) {
        running = true;
        next_due = now_ns();
    } else if (strcmp(line, "pause\n") == 0) {
        running = false;
    } else if (strcmp(line, "count\n") == 0) {
        tell();
    }
}

static void run(void) {
    struct epoll_event command = {.events = EPOLLIN};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, STDIN_FILENO, &command) != 0) fail("epoll_ctl");
    while (!quitting) {
        if (!told_ready && (kind == HANDSHAKE || open_sessions == SLOTS || errors)) {
            told_ready = true;
            puts("ready");
        }
        struct epoll_event events[EVENTS];
        struct timespec wait;
        if (running) wait = keep_schedule();
        int ready = epoll_pwait2(epoll, events, EVENTS, running ? &wait : NULL, NULL);
        if (ready < 0 && errno != EINTR) fail("epoll_pwait2");
        for (int i = 0; i < ready; i++) {
            if (events[i].data.ptr) {
                handle(events[i].data.ptr, events[i].events);
            } else {
                obey();
            }
        }
    }
}

int main(int count, char **arguments) {
    static const char *const kinds[] = {[HANDSHAKE] = "handshake", [ECHO] = "echo", [PINGS] = "ping"};
    for (kind = HANDSHAKE; kind <= PINGS && count == 4; kind++) {
        if (strcmp(arguments[1], kinds[kind]) == 0) break;
    }
    if (count != 4 || kind > PINGS || strcmp(arguments[2], "--port") != 0) {
        fprintf(stderr, "usage: probe handshake|echo|ping --port PORT\n");
        return 2;
    }
    port = atoi(arguments[3]);
    signal(SIGPIPE, SIG_IGN);
    /* As in load, a second command must not lie in the buffer of stdio. */
    setvbuf(stdin, NULL, _IONBF, 0);
    setvbuf(stdout, NULL, _IOLBF, 0);
    raise_open_files();
    wake_exactly();
    epoll = epoll_create1(EPOLL_CLOEXEC);
    asked[0] = 0x80 | (kind == PINGS ? PING : BINARY);
    answer[0] = 0x80 | (kind == PINGS ? PONG : BINARY);
    asked[1] = 0x80 | PAYLOAD;
    answer[1] = PAYLOAD;
    memset(asked + 6, 'x', PAYLOAD);
    memset(answer + 2, 'x', PAYLOAD);
    for (size_t i = 0; i < SLOTS; i++) {
        if (kind == HANDSHAKE) {
            slots[i].fd = -1;
        } else {
            open_slot(&slots[i]);
        }
    }
    run();
    return 0;
}
