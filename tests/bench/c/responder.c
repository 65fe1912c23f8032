/* A cheap Modbus TCP peer: answers every read with zeros but for the first register.
 *   responder PORT HOLD_US SILENT_FROM
 * HOLD_US: each answer leaves that much after its question. Units of SILENT_FROM and above say nothing
 * (0: all speak). One process, one epoll, one FIFO: all answers are held equally long. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct held { int fd; uint64_t due; uint8_t head[12]; };
#define MOST 65536
static struct held queue[MOST];
static unsigned first, last;

static uint64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void answer(int fd, const uint8_t *asked) {
    uint8_t out[9 + 250] = {0};
    unsigned count = asked[10] << 8 | asked[11];
    if (count > 125) return;
    memcpy(out, asked, 8);
    out[4] = (3 + 2 * count) >> 8;
    out[5] = 3 + 2 * count;
    out[8] = 2 * count;
    out[10] = 7; /* register 0200h: the type of a DDSY1352 */
    if (write(fd, out, 9 + 2 * count) < 0 && errno != EAGAIN && errno != EPIPE && errno != ECONNRESET)
        perror("write");
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    uint64_t hold = strtoull(argv[2], NULL, 10);
    int silent_from = atoi(argv[3]), one = 1;
    int listener = socket(AF_INET, SOCK_STREAM, 0), ep = epoll_create1(0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1]))};
    inet_pton(AF_INET, "127.0.0.1", &at.sin_addr);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (void *)&at, sizeof at) || listen(listener, 4096)) { perror("listen"); return 1; }
    struct epoll_event ev = {.events = EPOLLIN, .data.fd = listener}, got[512];
    epoll_ctl(ep, EPOLL_CTL_ADD, listener, &ev);
    puts("ready");
    fflush(stdout);
    for (;;) {
        struct timespec wait = {0}, *until = NULL;
        if (first != last) {
            int64_t left = (int64_t)queue[first % MOST].due - (int64_t)now_us();
            if (left > 0) wait = (struct timespec){left / 1000000, left % 1000000 * 1000};
            until = &wait;
        }
        /* Not epoll_wait: its whole milliseconds would hold an answer up to one too long. */
        int n = epoll_pwait2(ep, got, 512, until, NULL);
        for (int i = 0; i < n; i++) {
            int fd = got[i].data.fd;
            if (fd == listener) {
                int peer = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
                if (peer < 0) continue;
                setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                ev.events = EPOLLIN;
                ev.data.fd = peer;
                epoll_ctl(ep, EPOLL_CTL_ADD, peer, &ev);
                continue;
            }
            uint8_t in[4096];
            ssize_t size = read(fd, in, sizeof in);
            if (size <= 0) { close(fd); continue; }
            for (ssize_t p = 0; p + 12 <= size; p += 12) {
                if (silent_from && in[p + 6] >= silent_from) continue;
                if (!hold) { answer(fd, in + p); continue; }
                struct held *h = &queue[last++ % MOST];
                h->fd = fd;
                h->due = now_us() + hold;
                memcpy(h->head, in + p, 12);
            }
        }
        for (uint64_t now = now_us(); first != last && queue[first % MOST].due <= now; first++)
            answer(queue[first % MOST].fd, queue[first % MOST].head);
    }
}
