/* load MODE --port PORT [OPTIONS]: the clients of the comparison, on one thread.
 *
 *   echo       N sessions; each keeps --depth messages on their way (or --in-turn of them are on their way in all, each
 *              session's turn after the other; or --rate of them a second, whether echoes come or not)
 *   handshake  N at a time: connect, upgrade, Close, read to the end, again
 *   http       N connections; a GET, its answer, again
 *
 * With --library, a client speaks the protocol of docs/resume.md: it offers to come back, waits for the hello, checks control
 * texts, and acknowledges echoes when one is due or comes in, and at `pause`.
 *
 * It times each of them: an echo or an answer from the moment when the message was sent (at a rate: was due), a handshake
 * from its connect to its 101, and to its hello with --library.
 *
 * Obeys lines on standard input: `go`, `mark`, `pause`, `count`, `quit`. Writes `ready` when all sessions are open. Writes
 * one line of figures for each `count`: counts since the start, times since the last `mark`. If something is wrong with a
 * connection, it is counted as an error, the first few are written to standard error, and the connection is given up. */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "net.h"
#include "stream.h"
#include "times.h"
#include "traffic.h"

#define EVENTS 512
/* The most sessions that are being opened at the same time. */
#define OPENING 64

enum mode { ECHO, HANDSHAKE, HTTP };

static struct {
    enum mode mode;
    int port, connections, size, depth, rate, in_turn, sources;
    int tls, resume, library;
} options = {.connections = 1, .size = 64, .depth = 1, .sources = 1};

static struct {
    uint64_t done, errors, on_their_way, pings, resumed, open;
} counts;

static struct connection *connections;
static SSL_CTX *tls_context;
static int epoll;
static bool running, told_ready, quitting;
static int opened, opening;
/* The connection whose turn it is, and when the next message is due. */
static int turn;
static uint64_t next_message;
/* When the bytes came in that are looked at now. */
static uint64_t arrived;

static const char UPGRADE[] = "GET /bench HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                              "Sec-WebSocket-Key: " KEY "\r\nSec-WebSocket-Version: 13\r\n";
static const char OFFER[] = "Sec-WebSocket-Protocol: longwire.resume.v1\r\n";
static const char GET[] = "GET /plain HTTP/1.1\r\nHost: localhost\r\n\r\n";

static void keep_ticket(void *owner, SSL_SESSION *session) {
    struct connection *connection = owner;
    SSL_SESSION_free(connection->session);
    connection->session = session;
}

static void open_connection(struct connection *connection) {
    connection->state = CONNECTING;
    connection->head_length = 0;
    connection->begun = now_ns();
    int source = options.sources > 1 ? (int)connection->index % options.sources : -1;
    connection->stream = (struct stream){.fd = connect_to(options.port, source)};
    watch(epoll, connection->stream.fd, connection);
    opening++;
}

static void give_up(struct connection *connection, const char *why) {
    if (counts.errors++ < 5) {
        fprintf(stderr, "load: connection %u in state %d: %s\n", connection->index, connection->state, why);
    }
    if (connection->state == OPEN) {
        counts.open--;
    } else {
        opening--;
    }
    stream_close(&connection->stream);
    connection->state = UNUSED;
}

static void write_or_give_up(struct connection *connection, const char *bytes, size_t length) {
    struct iovec part = {(void *)bytes, length};
    if (stream_write(&connection->stream, &part, 1) != (ssize_t)length) give_up(connection, "a head that was not taken");
}

/* Gives this connection one more message, or GET. It is timed from `since`. */
static void send_one(struct connection *connection, uint64_t since) {
    if (connection->state != OPEN) return;
    counts.on_their_way++;
    if (options.mode == HTTP) {
        connection->begun = since;
        return write_or_give_up(connection, GET, sizeof GET - 1);
    }
    is_due(connection, since);
    if (!send_due(connection)) give_up(connection, "a message that was not taken");
}

static struct connection *next_in_turn(void) {
    struct connection *connection = &connections[turn];
    turn = (turn + 1) % options.connections;
    return connection;
}

/* A message has come back. `handle` sends the next one on the same connection, with the rest of its batch. */
static void echoed(struct connection *connection, uint64_t since) {
    times_add(since, arrived);
    counts.done++;
    counts.on_their_way--;
    if (!running || options.rate) return;
    if (options.in_turn) {
        struct connection *next = next_in_turn();
        if (next != connection) return send_one(next, arrived);
    }
    counts.on_their_way++;
    is_due(connection, arrived);
}

static void pinged(struct connection *connection) {
    (void)connection;
    counts.pings++;
}

/* The connection is upgraded, or connected if no upgrade is wanted. In handshake mode, the Close follows at once. */
static void is_open(struct connection *connection) {
    connection->head_length = 0;
    if (options.mode == HANDSHAKE) {
        times_add(connection->begun, arrived);
        connection->state = CLOSING;
        if (!send_close(connection)) give_up(connection, "a Close that was not taken");
        return;
    }
    connection->state = OPEN;
    opening--;
    counts.open++;
}

/* Appends bytes to `head`, and a NUL behind them. */
static bool collect(struct connection *connection, const uint8_t *bytes, size_t length) {
    if (connection->head_length + length >= HEAD) {
        give_up(connection, "an answer that is too long");
        return false;
    }
    memcpy(connection->head + connection->head_length, bytes, length);
    connection->head_length += length;
    connection->head[connection->head_length] = 0;
    return true;
}

static void take_upgrade(struct connection *connection, const uint8_t *bytes, size_t length) {
    if (!collect(connection, bytes, length)) return;
    char *head = (char *)connection->head;
    char *end = strstr(head, "\r\n\r\n");
    if (!end) return;
    bool accepted = strncmp(head, "HTTP/1.1 101 ", 13) == 0 && strstr(head, ACCEPT);
    if (!accepted) return give_up(connection, "a handshake that was refused");
    const uint8_t *behind = (uint8_t *)end + 4;
    size_t more = (size_t)(connection->head + connection->head_length - behind);
    if (options.library) {
        int result = take_hello(connection, behind, more);
        if (result == AGAIN) return;
        if (result != 1) return give_up(connection, "no hello that lets a client come back");
    } else if (more) {
        /* The backend sends nothing before it gets a message. */
        return give_up(connection, "bytes behind the handshake");
    }
    is_open(connection);
}

static void take_plain(struct connection *connection, const uint8_t *bytes, size_t length) {
    if (!collect(connection, bytes, length)) return;
    char *head = (char *)connection->head;
    char *end = strstr(head, "\r\n\r\n");
    if (!end || strlen(end + 4) < sizeof HTTP_BODY - 1) return;
    bool right = strncmp(head, "HTTP/1.1 200 ", 13) == 0 && strcmp(end + 4, HTTP_BODY) == 0;
    if (!right) return give_up(connection, "an answer that differs");
    connection->head_length = 0;
    times_add(connection->begun, arrived);
    counts.done++;
    counts.on_their_way--;
    if (running) send_one(connection, arrived);
}

static void take(struct connection *connection, const uint8_t *bytes, size_t length) {
    if (connection->state == UPGRADING) return take_upgrade(connection, bytes, length);
    if (connection->state == CLOSING) return (void)collect(connection, bytes, length);
    if (options.mode == HTTP) return take_plain(connection, bytes, length);
    const char *wrong = check_echo(connection, bytes, length, echoed, pinged);
    if (wrong) return give_up(connection, wrong);
    if (!acknowledge(connection, arrived, false)) return give_up(connection, "an acknowledgement that was not taken");
    if (!send_due(connection)) give_up(connection, "a message that was not taken");
}

/* The connection has ended. That is right after both Closes, and wrong at any other time. */
static void ended(struct connection *connection) {
    bool right = connection->state == CLOSING && connection->head_length == sizeof CLOSE_1000 &&
                 memcmp(connection->head, CLOSE_1000, sizeof CLOSE_1000) == 0;
    if (!right) {
        give_up(connection, "an end that nobody asked for");
    } else {
        counts.done++;
        opening--;
        stream_close(&connection->stream);
        connection->state = UNUSED;
    }
    if (options.mode == HANDSHAKE && running) open_connection(connection);
}

/* The connection is there, with TLS if that is wanted. Asks for the upgrade. */
static void begin(struct connection *connection) {
    if (options.mode == HTTP) return is_open(connection);
    connection->state = UPGRADING;
    char request[512];
    int length = snprintf(request, sizeof request, "%s%s\r\n", UPGRADE, options.library ? OFFER : "");
    write_or_give_up(connection, request, (size_t)length);
}

/* Goes on with the connect. False: there is nothing to read yet, or the connection was given up. */
static bool connected(struct connection *connection, uint32_t events) {
    if (connection->state == CONNECTING) {
        if (events & (EPOLLERR | EPOLLHUP)) {
            give_up(connection, "no connection");
            return false;
        }
        if (!(events & EPOLLOUT)) return false;
        if (!options.tls) {
            begin(connection);
            return false;
        }
        connection->state = SECURING;
        SSL_SESSION *session = options.resume ? connection->session : NULL;
        stream_begin_tls(&connection->stream, tls_context, connection, session);
    }
    if (connection->state == SECURING) {
        int result = stream_secure(&connection->stream);
        if (result == AGAIN) return false;
        if (result != 1) {
            give_up(connection, "a TLS handshake that failed");
            return false;
        }
        counts.resumed += (uint64_t)SSL_session_reused(connection->stream.ssl);
        begin(connection);
    }
    return connection->state != UNUSED;
}

static void handle(struct connection *connection, uint32_t events) {
    static uint8_t scratch[SCRATCH];
    if (connection->state == UNUSED || !connected(connection, events)) return;
    if ((events & EPOLLOUT) && !send_due(connection)) return give_up(connection, "a message that was not taken");
    if (!(events & EPOLLIN)) return;
    bool hung_up = (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
    for (;;) {
        ssize_t got = stream_read(&connection->stream, scratch, sizeof scratch);
        if (got == AGAIN) return;
        if (got <= 0) return ended(connection);
        arrived = now_ns();
        take(connection, scratch, (size_t)got);
        if (connection->state == UNUSED) return;
        /* A short receive took everything. But TLS may still hold a record, and a hang-up gives no further event. */
        if (!connection->stream.ssl && (size_t)got < sizeof scratch && !hung_up) return;
    }
}

/* Opens sessions, a few at a time, and writes `ready` when all have been tried. */
static void open_more(void) {
    while (options.mode != HANDSHAKE && opened < options.connections && opening < OPENING) {
        open_connection(&connections[opened++]);
    }
    if (!told_ready && opening == 0) {
        told_ready = true;
        puts("ready");
    }
}

static void go(void) {
    running = true;
    next_message = now_ns();
    if (options.rate) return;
    if (options.in_turn) {
        for (int i = 0; i < options.in_turn; i++) send_one(next_in_turn(), now_ns());
        return;
    }
    for (int i = 0; i < options.connections; i++) {
        if (options.mode == HANDSHAKE) {
            if (connections[i].state == UNUSED) open_connection(&connections[i]);
            continue;
        }
        for (int j = 0; j < options.depth; j++) send_one(&connections[i], now_ns());
    }
}

static void acknowledge_all(struct connection *connection) {
    if (connection->state == OPEN && !acknowledge(connection, now_ns(), true)) {
        give_up(connection, "an acknowledgement that was not taken");
    }
}

static void obey(void) {
    char line[32];
    if (!fgets(line, sizeof line, stdin) || strcmp(line, "quit\n") == 0) {
        quitting = true;
    } else if (strcmp(line, "go\n") == 0) {
        go();
    } else if (strcmp(line, "mark\n") == 0) {
        times_clear();
    } else if (strcmp(line, "pause\n") == 0) {
        running = false;
        for (int i = 0; i < options.connections; i++) acknowledge_all(&connections[i]);
    } else if (strcmp(line, "count\n") == 0) {
        uint64_t on_their_way = options.mode == HANDSHAKE ? (uint64_t)opening : counts.on_their_way;
        printf("done=%lu errors=%lu on_their_way=%lu pings=%lu resumed=%lu open=%lu timed=%lu p50_ns=%lu p99_ns=%lu\n",
               counts.done, counts.errors, on_their_way, counts.pings, counts.resumed, counts.open, times_count(),
               times_percentile(50), times_percentile(99));
    }
}

/* Sends the messages that are due by now, and returns how long to wait for the next one. */
static struct timespec keep_schedule(void) {
    uint64_t interval = 1000000000u / (uint64_t)options.rate, now = now_ns();
    for (; next_message <= now; next_message += interval) send_one(next_in_turn(), next_message);
    return (struct timespec){.tv_nsec = (long)(next_message - now)};
}

static void run(void) {
    struct epoll_event command = {.events = EPOLLIN};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, STDIN_FILENO, &command) != 0) fail("epoll_ctl");
    while (!quitting) {
        open_more();
        struct epoll_event events[EVENTS];
        bool scheduled = running && options.rate;
        struct timespec wait;
        if (scheduled) wait = keep_schedule();
        int ready = epoll_pwait2(epoll, events, EVENTS, scheduled ? &wait : NULL, NULL);
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

static void read_options(int count, char **arguments) {
    enum { PORT = 1, CONNECTIONS, SIZE, DEPTH, RATE, IN_TURN, SOURCES };
    static const struct option known[] = {
        {"port", required_argument, NULL, PORT},       {"connections", required_argument, NULL, CONNECTIONS},
        {"size", required_argument, NULL, SIZE},       {"depth", required_argument, NULL, DEPTH},
        {"rate", required_argument, NULL, RATE},       {"in-turn", required_argument, NULL, IN_TURN},
        {"sources", required_argument, NULL, SOURCES}, {"tls", no_argument, &options.tls, 1},
        {"resume", no_argument, &options.resume, 1},   {"library", no_argument, &options.library, 1},
        {0},
    };
    int *const places[] = {[PORT] = &options.port,   [CONNECTIONS] = &options.connections,
                           [SIZE] = &options.size,   [DEPTH] = &options.depth,
                           [RATE] = &options.rate,   [IN_TURN] = &options.in_turn,
                           [SOURCES] = &options.sources};
    for (int option; (option = getopt_long(count, arguments, "", known, NULL)) != -1;) {
        if (option == '?') exit(2);
        if (option != 0) *places[option] = atoi(optarg);
    }
    const char *mode = optind < count ? arguments[optind] : "";
    static const char *const modes[] = {[ECHO] = "echo", [HANDSHAKE] = "handshake", [HTTP] = "http"};
    for (options.mode = ECHO; options.mode <= HTTP; options.mode++) {
        if (strcmp(mode, modes[options.mode]) == 0) break;
    }
    if (options.mode > HTTP || options.port <= 0 || options.size < 16 || options.connections < 1) {
        fprintf(stderr, "usage: load echo|handshake|http --port PORT [--connections N] [--size BYTES, 16 or more]\n"
                        "  [--depth N | --in-turn N | --rate PER-SECOND] [--sources N] [--tls] [--resume] [--library]\n");
        exit(2);
    }
}

int main(int count, char **arguments) {
    read_options(count, arguments);
    signal(SIGPIPE, SIG_IGN);
    /* Without a buffer, because a second command in the buffer of stdio would not be seen by epoll. */
    setvbuf(stdin, NULL, _IONBF, 0);
    setvbuf(stdout, NULL, _IOLBF, 0);
    raise_open_files();
    wake_exactly();
    prepare_messages((size_t)options.size);
    if (options.tls) tls_context = tls_client(keep_ticket);
    connections = calloc((size_t)options.connections, sizeof *connections);
    if (!connections) fail("calloc");
    for (int i = 0; i < options.connections; i++) connections[i].index = (uint32_t)i;
    epoll = epoll_create1(EPOLL_CLOEXEC);
    run();
    return 0;
}
