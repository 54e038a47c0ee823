#include "cli/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/if_tun.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

_Static_assert(TAP_NAME_SIZE == IFNAMSIZ, "names of interfaces");

bool tap_name_is_valid(const char *name)
{
    size_t size = strlen(name);
    /* dev_valid_name() of the kernel, and only ASCII; '%' would make it a pattern. */
    if (size == 0 || size >= TAP_NAME_SIZE || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return false;
    for (size_t i = 0; i < size; i++) {
        if (name[i] <= ' ' || name[i] > '~' || name[i] == '/' || name[i] == ':' || name[i] == '%')
            return false;
    }
    return true;
}

int tap_open(const char *name)
{
    struct ifreq request;
    if (!tap_name_is_valid(name))
        return -EINVAL;
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return -errno;
    memset(&request, 0, sizeof(request));
    memcpy(request.ifr_name, name, strlen(name));
    request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
    if (ioctl(fd, TUNSETIFF, &request) != 0) {
        int error = -errno;
        close(fd);
        return error;
    }
    return fd;
}

/* ---- rtnetlink ------------------------------------------------------------------------------- */

/* One request: header, a fixed part and at most two attributes. */
struct request {
    struct nlmsghdr header;
    union {
        struct ifaddrmsg address;
        struct ifinfomsg link;
        char bytes[128];
    } body;
};

static void add_attribute(struct request *request, unsigned short type, const void *bytes,
                          unsigned short size)
{
    struct rtattr *attribute =
        (struct rtattr *)((char *)request + NLMSG_ALIGN(request->header.nlmsg_len));
    attribute->rta_type = type;
    attribute->rta_len = (unsigned short)RTA_LENGTH(size);
    memcpy(RTA_DATA(attribute), bytes, size);
    request->header.nlmsg_len = NLMSG_ALIGN(request->header.nlmsg_len) + RTA_SPACE(size);
}

static int receive_acknowledgement(int sock)
{
    union {
        struct nlmsghdr header;
        char bytes[4096];
    } reply;
    ssize_t size;
    do {
        size = recv(sock, &reply, sizeof(reply), 0);
    } while (size < 0 && errno == EINTR);
    if (size < 0)
        return -errno;
    struct nlmsgerr error;
    if ((size_t)size < NLMSG_LENGTH(sizeof(error.error)) || reply.header.nlmsg_type != NLMSG_ERROR)
        return -EPROTO;
    memcpy(&error.error, NLMSG_DATA(&reply.header), sizeof(error.error));
    return error.error;
}

static int call(struct request *request)
{
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    int sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (sock < 0)
        return -errno;
    request->header.nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
    ssize_t sent = sendto(sock, request, request->header.nlmsg_len, 0,
                          (const struct sockaddr *)&kernel, sizeof(kernel));
    int error = sent < 0 ? -errno : receive_acknowledgement(sock);
    close(sock);
    return error;
}

/* if_nametoindex() without <net/if.h>, which does not go together with <linux/if.h>. */
static int index_of(const char *name, int *ret_index)
{
    struct ifreq request;
    memset(&request, 0, sizeof(request));
    memcpy(request.ifr_name, name, strlen(name));
    int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (sock < 0)
        return -errno;
    int error = ioctl(sock, SIOCGIFINDEX, &request) == 0 ? 0 : -errno;
    close(sock);
    if (error == 0)
        *ret_index = request.ifr_ifindex;
    return error;
}

int tap_add_address(const char *name, const struct text_network *address)
{
    struct request request;
    bool is_v4 = foyer_addr_is_v4(&address->addr);
    int index = 0;
    int error = tap_name_is_valid(name) ? index_of(name, &index) : -EINVAL;
    if (error != 0)
        return error;
    memset(&request, 0, sizeof(request));
    request.header.nlmsg_type = RTM_NEWADDR;
    request.header.nlmsg_flags = NLM_F_CREATE | NLM_F_EXCL;
    request.header.nlmsg_len = NLMSG_LENGTH(sizeof(request.body.address));
    request.body.address.ifa_family = is_v4 ? AF_INET : AF_INET6;
    request.body.address.ifa_prefixlen = (unsigned char)address->prefix;
    request.body.address.ifa_scope = RT_SCOPE_UNIVERSE;
    request.body.address.ifa_index = (unsigned)index;
    /* The building's gateway address is nobody else's: no detection of duplicates (RFC 4862
     * section 5.4), whose second of waiting would be the first connection's. */
    if (!is_v4)
        request.body.address.ifa_flags = IFA_F_NODAD;
    add_attribute(&request, IFA_LOCAL, address->addr.bytes + (is_v4 ? 12 : 0), is_v4 ? 4 : 16);
    add_attribute(&request, IFA_ADDRESS, address->addr.bytes + (is_v4 ? 12 : 0), is_v4 ? 4 : 16);
    return call(&request);
}

int tap_set_up(const char *name)
{
    struct request request;
    int index = 0;
    int error = tap_name_is_valid(name) ? index_of(name, &index) : -EINVAL;
    if (error != 0)
        return error;
    memset(&request, 0, sizeof(request));
    request.header.nlmsg_type = RTM_NEWLINK;
    request.header.nlmsg_len = NLMSG_LENGTH(sizeof(request.body.link));
    request.body.link.ifi_family = AF_UNSPEC;
    request.body.link.ifi_index = index;
    request.body.link.ifi_flags = IFF_UP;
    request.body.link.ifi_change = IFF_UP;
    return call(&request);
}
