/* gateway/admin_view.h: what the admin API sees of the gateway: its settings, which change with a reload, and how the process is. Made on the
 * control thread; read by the admin worker. */
#ifndef SLUICE_GATEWAY_ADMIN_VIEW_H
#define SLUICE_GATEWAY_ADMIN_VIEW_H

#include "admin/admin.h"

#include <pthread.h>

struct gateway;

struct admin_view {
    struct admin_surroundings surroundings;
    pthread_mutex_t lock; /* of `settings` */
    struct admin_settings *settings;
    struct policy_kinds kinds;
};

/* After the first load. The gateway, its publisher and its workers outlive the admin worker. */
void admin_view_init(struct admin_view *, struct gateway *);
void admin_view_release(struct admin_view *);
/* Takes the reference. */
void admin_view_take_settings(struct admin_view *, struct admin_settings *);

#endif
