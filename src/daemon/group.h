/* Multicast groups of programs' sockets. */
#ifndef FOYER_DAEMON_GROUP_H
#define FOYER_DAEMON_GROUP_H

#include "daemon/psocket.h"

/* 0 or a positive errno for the reply. */
int group_request(struct psocket *psocket, const struct foyer_request_group *request,
                  struct foyer_reply_group *reply);
int filter_request(struct psocket *psocket, const struct foyer_request_filter *request,
                   struct foyer_reply_filter *reply);

#endif
