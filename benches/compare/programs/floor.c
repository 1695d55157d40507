/* floor LISTEN BACKEND: the least that a relay on one thread can cost. It copies bytes between two sockets with one
 * receive and one send per chunk, knows nothing of WebSocket or HTTP, keeps no time and writes no log. A proxy does more
 * than this. If it costs little more, it has nothing left to save. */
#define _GNU_SOURCE
#include "net.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS 512

/* One side of a pair, with the bytes of the other side that this side could not take yet. */
struct side {
    int fd;
    bool ended;
    struct side *other;
    uint8_t *pending;
    size_t length, taken;
};

/* Both sides in one allocation. It is freed at the end of a batch, because events of the same batch may still name it. */
struct pair {
    struct side sides[2];
    bool closed;
    struct pair *next_closed;
};

static uint8_t scratch[SCRATCH];
static struct pair *closed_pairs;

static struct pair *pair_of(struct side *side) {
    struct side *first = side->other < side ? side->other : side;
    return (struct pair *)first;
}

static void close_pair(struct side *side) {
    struct pair *pair = pair_of(side);
    if (pair->closed) return;
    pair->closed = true;
    for (int i = 0; i < 2; i++) {
        close(pair->sides[i].fd);
        free(pair->sides[i].pending);
    }
    pair->next_closed = closed_pairs;
    closed_pairs = pair;
}

/* Sends the bytes that wait for `to`. False: bytes still wait, or the pair is closed. */
static bool flush(struct side *to) {
    if (!to->pending) return true;
    ssize_t sent = send(to->fd, to->pending + to->taken, to->length - to->taken, MSG_NOSIGNAL);
    if (sent < 0) {
        if (errno != EAGAIN) close_pair(to);
        return false;
    }
    to->taken += (size_t)sent;
    if (to->taken < to->length) return false;
    free(to->pending);
    to->pending = NULL;
    return true;
}

static void keep(struct side *to, const uint8_t *bytes, size_t length) {
    to->pending = malloc(length);
    if (!to->pending) fail("malloc");
    memcpy(to->pending, bytes, length);
    to->length = length;
    to->taken = 0;
}

/* Moves bytes from `from` until it has no more, or until the other side takes no more. After a short receive, the next one
 * would only say EAGAIN, so it is left out, except after a hang-up, because the end of file gives no further edge. */
static void pump(struct side *from, bool hung_up) {
    struct side *to = from->other;
    while (flush(to)) {
        ssize_t got = recv(from->fd, scratch, sizeof scratch, 0);
        if (got < 0) {
            if (errno != EAGAIN) close_pair(from);
            return;
        }
        if (got == 0) {
            from->ended = true;
            shutdown(to->fd, SHUT_WR);
            if (to->ended) close_pair(from);
            return;
        }
        ssize_t sent = send(to->fd, scratch, (size_t)got, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN) return close_pair(from);
        if (sent < got) {
            size_t taken = sent < 0 ? 0 : (size_t)sent;
            return keep(to, scratch + taken, (size_t)got - taken);
        }
        if ((size_t)got < sizeof scratch && !hung_up) return;
    }
}

static void accept_all(int epoll, int listener, int backend) {
    for (;;) {
        int client = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (client < 0) return;
        struct pair *pair = calloc(1, sizeof *pair);
        if (!pair) fail("calloc");
        pair->sides[0] = (struct side){.fd = client, .other = &pair->sides[1]};
        pair->sides[1] = (struct side){.fd = connect_to(backend, -1), .other = &pair->sides[0]};
        for (int i = 0; i < 2; i++) watch(epoll, pair->sides[i].fd, &pair->sides[i]);
    }
}

int main(int count, char **arguments) {
    if (count != 3) {
        fprintf(stderr, "usage: floor LISTEN BACKEND (ports on 127.0.0.1)\n");
        return 2;
    }
    raise_open_files();
    int listener = listen_on(atoi(arguments[1]));
    int backend = atoi(arguments[2]);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    watch(epoll, listener, NULL);
    for (;;) {
        struct epoll_event events[EVENTS];
        int ready = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            struct side *side = events[i].data.ptr;
            uint32_t what = events[i].events;
            if (!side) {
                accept_all(epoll, listener, backend);
                continue;
            }
            /* There is room to write again. The bytes that wait go first, then their sender is read again. */
            if ((what & EPOLLOUT) && side->pending && !pair_of(side)->closed) pump(side->other, true);
            if ((what & EPOLLIN) && !pair_of(side)->closed && !side->ended) {
                pump(side, (what & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0);
            }
        }
        while (closed_pairs) {
            struct pair *pair = closed_pairs;
            closed_pairs = pair->next_closed;
            free(pair);
        }
    }
}
