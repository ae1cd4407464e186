// HTTP/1.1, one kind of request, on connections that are kept: httpload PORT CONNECTIONS SECONDS FILE DEPTH SIZE [fresh]
//
// FILE has the requests that are sent at once, DEPTH of them; the next go out when all their answers are here. Each
// answer is read to its end, and must be a 200 with a body of SIZE bytes, by its length or chunked. With `fresh` each
// batch has a connection of its own, which the client closes.
#include "client.h"

#include <ctype.h>
#include <sys/stat.h>

#define HEAD_SIZE 4096

enum state { HEAD, BODY, CHUNK, DATA, TRAILERS };

struct connection {
    int fd, answers;        // those that are missing
    size_t sent;            // bytes of the batch
    int64_t begun, body;    // body: bytes that have come
    int64_t missing;        // bytes of the body or chunk
    enum state state;
    size_t used;            // of `head`: a head, or a line of a chunked body
    char head[HEAD_SIZE + 1];
};

static char *batch;
static size_t batch_size;
static int depth, poll_fd, is_fresh;
static int64_t size;
static uint16_t port;

static void watch(struct connection *c, int how, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = c};
    epoll_ctl(poll_fd, how, c->fd, &event);
}

static void go_on(struct connection *c) {  // send what the socket takes; it says when it takes more
    while (c->sent < batch_size) {
        ssize_t done = send(c->fd, batch + c->sent, batch_size - c->sent, MSG_NOSIGNAL);
        if (done < 0 && errno == EAGAIN) {
            watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
            return;
        }
        if (done < 0) fail("cannot send");
        c->sent += done;
    }
    watch(c, EPOLL_CTL_MOD, EPOLLIN);
}

static void ask(struct connection *c, int64_t t) {
    c->begun = t;
    c->answers = depth;
    c->sent = 0;
    if (is_fresh) {
        c->fd = connecting(port);
        watch(c, EPOLL_CTL_ADD, EPOLLOUT);
        return;
    }
    ssize_t done = send(c->fd, batch, batch_size, MSG_NOSIGNAL);
    if (done < 0 && errno != EAGAIN) fail("cannot send");
    c->sent = done < 0 ? 0 : done;
    if (c->sent < batch_size) go_on(c);
}

static void begin_body(struct connection *c) {
    char *length = strcasestr(c->head, "\r\ncontent-length:"), *coding = strcasestr(c->head, "\r\ntransfer-encoding:");
    errno = EPROTO;
    if (strncmp(c->head, "HTTP/1.1 200", 12)) fail(strtok(c->head, "\r\n"));
    if (!length == !coding) fail("an answer has no length and no chunks, or both");
    c->body = 0;
    c->missing = length ? atoll(length + 17) : 0;
    c->state = length ? BODY : CHUNK;
    if (!is_fresh && strcasestr(c->head, "\r\nconnection: close")) fail("the server closes connections");
}

// One answer's part of `data`: how much of it that was. The answer has ended when `answers` is one less.
static size_t take(struct connection *c, const char *data, size_t count) {
    if (c->state == BODY || c->state == DATA) {
        size_t here = (int64_t)count < c->missing ? count : (size_t)c->missing;
        c->missing -= here;
        c->body += here;
        if (!c->missing && c->state == DATA) c->state = CHUNK;
        return here;
    }
    // A head ends with an empty line; the others are lines. The end of a chunk's data is an empty line, too.
    size_t before = c->used, room = HEAD_SIZE - before, here = count < room ? count : room;
    memcpy(c->head + before, data, here);
    c->head[before + here] = 0;
    const char *end = c->state == HEAD ? "\r\n\r\n" : "\r\n";
    size_t back = before > 3 ? before - 3 : 0;
    char *found = memmem(c->head + back, before + here - back, end, strlen(end));
    errno = EPROTO;
    if (!found) {
        c->used += here;
        if (c->used == HEAD_SIZE) fail("a head, or a line of a body, has more than 4096 bytes");
        return here;
    }
    size_t length = found + strlen(end) - c->head;
    c->used = 0;
    c->head[length] = 0;
    if (c->state == HEAD) {
        begin_body(c);
    } else if (c->state == TRAILERS) {
        if (length == 2) c->state = BODY, c->missing = 0;
    } else if (length > 2) {
        if (!isxdigit(c->head[0])) fail("a chunk has no size");
        c->missing = strtoll(c->head, NULL, 16);
        c->state = c->missing ? DATA : TRAILERS;
    }
    return length - before;
}

static void read_all(struct connection *c, const char *data, size_t count, int64_t t) {
    do {
        errno = EPROTO;
        if (!c->answers) fail("more answers than requests");
        size_t done = take(c, data, count);
        data += done;
        count -= done;
        if (c->state == BODY && !c->missing) {
            errno = EPROTO;
            if (c->body != size) fail("an answer has not the size that it should have");
            c->state = HEAD;
            c->answers--;
            record(t - c->begun);
        }
    } while (count);
}

int main(int argc, char **argv) {
    if (argc != 7 && argc != 8) return 2;
    int connections = atoi(argv[2]), running = connections;
    FILE *file = fopen(argv[4], "rb");
    struct stat about;
    if (!file || fstat(fileno(file), &about)) fail(argv[4]);
    batch = malloc(batch_size = about.st_size);
    if (fread(batch, 1, batch_size, file) != batch_size) fail(argv[4]);
    port = atoi(argv[1]);
    depth = atoi(argv[5]);
    size = atoll(argv[6]);
    is_fresh = argc == 8;
    poll_fd = epoll_create1(0);
    struct connection *all = calloc(connections, sizeof *all);
    for (int i = 0; i < connections && !is_fresh; i++) {
        all[i].fd = connected(port);
        fcntl(all[i].fd, F_SETFL, O_NONBLOCK);
        watch(&all[i], EPOLL_CTL_ADD, EPOLLIN);
    }
    static char buffer[1 << 18];
    struct epoll_event events[256];
    int64_t start = now(), end = start + (int64_t)(atof(argv[3]) * NS);
    for (int i = 0; i < connections; i++) ask(&all[i], start);
    while (running) {
        int ready = epoll_wait(poll_fd, events, 256, 5000);
        if (ready <= 0) {
            errno = ETIMEDOUT;
            fail("no answer for 5 seconds");
        }
        for (int k = 0; k < ready; k++) {
            struct connection *c = events[k].data.ptr;
            if (events[k].events & EPOLLOUT) go_on(c);
            int64_t t = now();
            if (events[k].events & ~EPOLLOUT) {
                ssize_t got = recv(c->fd, buffer, sizeof buffer, 0);
                if (got < 0 && errno == EAGAIN) continue;
                if (!got) errno = ECONNRESET;
                if (got <= 0) fail("a connection ended without an answer");
                read_all(c, buffer, got, t);
            }
            if (c->answers || c->sent < batch_size) continue;  // some answer before they have read it all
            if (is_fresh) close(c->fd);
            if (t < end) {
                ask(c, t);
            } else {
                running--;
            }
        }
    }
    report(now() - start);
}
