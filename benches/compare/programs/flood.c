/* flood backend PORT, flood clients PORT: frames of 1 MiB, both ways, as many as a proxy takes.
 *
 * Each end sends frames from a file in memory without copying them, and drops what comes without looking at it. So both
 * ends together cost less than a proxy between them, and the proxy is what saturates. The flood only loads a proxy while
 * probe times others; load checks elsewhere that messages pass unchanged.
 *
 * `clients` opens SESSIONS sessions, and obeys lines as load does. `backend` floods each session that it accepts. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net.h"

#define SESSIONS 32
#define PAYLOAD (1 << 20)
#define EVENTS 64
#define HEAD 2048
/* The bytes that one connection sends or drops before the next connection has its turn. */
#define SHARE (1 << 20)

struct connection {
    int fd;
    bool open, ended, readable, writable;
    uint8_t head[HEAD];
    size_t head_length;
    /* How many bytes of the current frame are sent. */
    off_t offset;
};

static int epoll, frame, listener = -1, opened;
static off_t frame_length;
static bool running, quitting;
static uint64_t dropped, errors;

static const char UPGRADE[] = "GET /bench HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                              "Sec-WebSocket-Key: " KEY "\r\nSec-WebSocket-Version: 13\r\n\r\n";
static const char UPGRADED[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                               "Sec-WebSocket-Accept: " ACCEPT "\r\n\r\n";

static void make_frame(bool masked) {
    uint8_t header[14] = {0};
    size_t length = frame_header(header, 0x80 | BINARY, PAYLOAD);
    if (masked) {
        header[1] |= 0x80;
        length += 4;
    }
    frame_length = (off_t)length + PAYLOAD;
    frame = memfd_create("frame", MFD_CLOEXEC);
    if (frame < 0 || ftruncate(frame, frame_length) != 0 || pwrite(frame, header, length, 0) != (ssize_t)length) {
        fail("the frame");
    }
}

static void end(struct connection *connection, const char *why) {
    if (!quitting && listener < 0 && errors++ < 5) fprintf(stderr, "flood: %s\n", why);
    close(connection->fd);
    connection->ended = true;
}

static void send_share(struct connection *connection) {
    for (off_t sent = 0; sent < SHARE;) {
        ssize_t taken = sendfile(connection->fd, frame, &connection->offset, (size_t)(frame_length - connection->offset));
        if (taken <= 0) {
            connection->writable = false;
            if (taken == 0 || errno != EAGAIN) end(connection, "a frame that was not taken");
            return;
        }
        sent += taken;
        if (connection->offset == frame_length) connection->offset = 0;
    }
}

static void drop_share(struct connection *connection) {
    for (size_t all = 0; all < SHARE;) {
        ssize_t got = recv(connection->fd, NULL, SHARE, MSG_TRUNC);
        if (got <= 0) {
            connection->readable = false;
            if (got == 0 || errno != EAGAIN) end(connection, "an end that nobody asked for");
            return;
        }
        all += (size_t)got;
        dropped += (uint64_t)got;
    }
}

/* Takes the head of the request or of the answer. The bytes behind it are dropped later. */
static void take_head(struct connection *connection) {
    ssize_t got = recv(connection->fd, connection->head, HEAD - 1, MSG_PEEK);
    if (got <= 0) {
        connection->readable = false;
        if (got == 0 || errno != EAGAIN) end(connection, "an end that nobody asked for");
        return;
    }
    connection->head[got] = 0;
    char *behind = strstr((char *)connection->head, "\r\n\r\n");
    if (!behind) {
        connection->readable = false;
        return;
    }
    recv(connection->fd, connection->head, (size_t)(behind + 4 - (char *)connection->head), 0);
    if (listener >= 0) send(connection->fd, UPGRADED, sizeof UPGRADED - 1, MSG_NOSIGNAL);
    connection->open = true;
    opened++;
    if (listener < 0 && opened == SESSIONS) puts("ready");
}

/* Gives the connection its turn. Returns whether it can go on at once. */
static bool serve(struct connection *connection) {
    if (!connection->ended && !connection->open && connection->readable) take_head(connection);
    if (!connection->ended && connection->open && connection->readable) drop_share(connection);
    if (!connection->ended && connection->open && running && connection->writable) send_share(connection);
    if (connection->ended || !connection->open) return false;
    return connection->readable || (running && connection->writable);
}

static void obey(void) {
    char line[32];
    if (!fgets(line, sizeof line, stdin) || strcmp(line, "quit\n") == 0) {
        quitting = true;
    } else if (strcmp(line, "count\n") == 0) {
        printf("bytes=%lu errors=%lu on_their_way=0\n", dropped, errors);
    } else {
        running = strcmp(line, "go\n") == 0;
    }
}

static struct connection *add(int fd) {
    struct connection *connection = calloc(1, sizeof *connection);
    if (!connection) fail("calloc");
    connection->fd = fd;
    watch(epoll, fd, connection);
    return connection;
}

int main(int count, char **arguments) {
    if (count != 3 || (strcmp(arguments[1], "backend") != 0 && strcmp(arguments[1], "clients") != 0)) {
        fprintf(stderr, "usage: flood backend|clients PORT (on 127.0.0.1)\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    setvbuf(stdin, NULL, _IONBF, 0);
    setvbuf(stdout, NULL, _IOLBF, 0);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    static struct connection *connections[SESSIONS * 4];
    size_t known = 0;
    running = strcmp(arguments[1], "backend") == 0;
    make_frame(!running);
    if (running) {
        listener = listen_on(atoi(arguments[2]));
        watch(epoll, listener, NULL);
    } else {
        struct epoll_event command = {.events = EPOLLIN};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, STDIN_FILENO, &command) != 0) fail("epoll_ctl");
        while (known < SESSIONS) {
            int fd = connect_to(atoi(arguments[2]), -1);
            connections[known++] = add(fd);
        }
    }
    for (bool busy = false; !quitting;) {
        struct epoll_event events[EVENTS];
        int ready = epoll_wait(epoll, events, EVENTS, busy ? 0 : -1);
        for (int i = 0; i < ready; i++) {
            struct connection *connection = events[i].data.ptr;
            if (connection) {
                bool connected = !connection->writable && !connection->open && (events[i].events & EPOLLOUT);
                if (connected && listener < 0) send(connection->fd, UPGRADE, sizeof UPGRADE - 1, MSG_NOSIGNAL);
                connection->writable |= (events[i].events & EPOLLOUT) != 0;
                connection->readable |= (events[i].events & ~(uint32_t)EPOLLOUT) != 0;
            } else if (listener < 0) {
                obey();
            } else {
                int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
                for (; fd >= 0 && known < SESSIONS * 4; fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) {
                    connections[known++] = add(fd);
                }
            }
        }
        busy = false;
        for (size_t i = 0; i < known; i++) busy |= serve(connections[i]);
    }
    return 0;
}
