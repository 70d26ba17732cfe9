/* Loaded before libc by a test: writes down and refuses every connection that would leave this machine. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void tell(const char *what, const char *where) {
  const char *path = getenv("OUTBOUND_LOG");
  int file = path ? open(path, O_WRONLY | O_CREAT | O_APPEND, 0644) : -1;
  if (file >= 0) {
    dprintf(file, "%s %s\n", what, where);
    close(file);
  }
}

static int leaves(const struct sockaddr *address, char *text) {
  if (address->sa_family == AF_INET) {
    struct in_addr in = ((const struct sockaddr_in *)address)->sin_addr;
    inet_ntop(AF_INET, &in, text, INET6_ADDRSTRLEN);
    return (ntohl(in.s_addr) >> 24) != 127 && in.s_addr != 0;
  }
  if (address->sa_family == AF_INET6) {
    const struct in6_addr *in = &((const struct sockaddr_in6 *)address)->sin6_addr;
    inet_ntop(AF_INET6, in, text, INET6_ADDRSTRLEN);
    return !IN6_IS_ADDR_LOOPBACK(in) && !IN6_IS_ADDR_UNSPECIFIED(in);
  }
  return 0;
}

int connect(int fd, const struct sockaddr *address, socklen_t length) {
  static int (*real)(int, const struct sockaddr *, socklen_t);
  char text[INET6_ADDRSTRLEN] = "";
  if (leaves(address, text)) {
    tell("connect", text);
    errno = ENETUNREACH;
    return -1;
  }
  if (!real) real = dlsym(RTLD_NEXT, "connect");
  return real(fd, address, length);
}

ssize_t sendto(int fd, const void *data, size_t size, int flags, const struct sockaddr *address, socklen_t length) {
  static ssize_t (*real)(int, const void *, size_t, int, const struct sockaddr *, socklen_t);
  char text[INET6_ADDRSTRLEN] = "";
  if (address && leaves(address, text)) {
    tell("sendto", text);
    errno = ENETUNREACH;
    return -1;
  }
  if (!real) real = dlsym(RTLD_NEXT, "sendto");
  return real(fd, data, size, flags, address, length);
}

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
  static int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
  unsigned char numeric[sizeof(struct in6_addr)];
  if (node && strcmp(node, "localhost") && !inet_pton(AF_INET, node, numeric) && !inet_pton(AF_INET6, node, numeric)) {
    tell("getaddrinfo", node);
    return EAI_NONAME;
  }
  if (!real) real = dlsym(RTLD_NEXT, "getaddrinfo");
  return real(node, service, hints, found);
}
