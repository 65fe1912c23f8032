/* Meters with relays behind many Modbus TCP gateways, one an address of 127.1/16.
 *   relays PORT HOLD_US
 * Reads answer zeros but for the type (0200h) and the relay (0224h, 2000h closed); a write of ten words or
 * fewer to 0057h forces it: the second word 1 opens. Each answer leaves HOLD_US after its question. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MOST 65536
#define LONGEST 64
struct held { int fd; uint64_t due; uint8_t asked[LONGEST]; };
static struct held queue[MOST];
static unsigned first, last;
static uint8_t opened[65536][256];   /* by the gateway's last two bytes and the unit */
static uint16_t gateway_of[MOST];    /* by connection */

static uint64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void answer(int fd, const uint8_t *asked) {
    uint8_t out[9 + 250] = {0}, *relay = &opened[gateway_of[fd]][asked[6]];
    unsigned address = asked[8] << 8 | asked[9], count = asked[10] << 8 | asked[11], size;
    memcpy(out, asked, 12);
    if (asked[7] == 0x10) {
        if (address == 0x0057) *relay = asked[14] == 1 && asked[16] == 1;
        out[4] = 0;
        out[5] = 6;
        size = 12;
    } else {
        if (count > 125) return;
        memset(out + 8, 0, sizeof out - 8);
        out[4] = (3 + 2 * count) >> 8;
        out[5] = 3 + 2 * count;
        out[8] = 2 * count;
        if (address == 0x0200) {
            out[10] = 7;
            if (count > 0x24 && !*relay) out[9 + 2 * 0x24] = 0x20;
        }
        size = 9 + 2 * count;
    }
    if (write(fd, out, size) < 0 && errno != EAGAIN && errno != EPIPE && errno != ECONNRESET)
        perror("write");
}

static void accept_one(int listener, int ep) {
    int one = 1, peer = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    if (peer < 0) return;
    struct sockaddr_in at;
    socklen_t size = sizeof at;
    getsockname(peer, (void *)&at, &size);
    gateway_of[peer] = ntohl(at.sin_addr.s_addr) & 0xffff;
    setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct epoll_event ev = {.events = EPOLLIN, .data.fd = peer};
    epoll_ctl(ep, EPOLL_CTL_ADD, peer, &ev);
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    uint64_t hold = strtoull(argv[2], NULL, 10);
    int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0), ep = epoll_create1(0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1]))};
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
            if (fd == listener) { accept_one(listener, ep); continue; }
            uint8_t in[4096];
            ssize_t size = read(fd, in, sizeof in);
            if (size <= 0) { close(fd); continue; }
            for (ssize_t p = 0; p + 12 <= size; p += 6 + (in[p + 4] << 8 | in[p + 5])) {
                struct held *h = &queue[last++ % MOST];
                h->fd = fd;
                h->due = now_us() + hold;
                ssize_t rest = size - p;
                memcpy(h->asked, in + p, rest < LONGEST ? rest : LONGEST);
            }
        }
        for (uint64_t now = now_us(); first != last && queue[first % MOST].due <= now; first++)
            answer(queue[first % MOST].fd, queue[first % MOST].asked);
    }
}
