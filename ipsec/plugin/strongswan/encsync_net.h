/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/**
 * Answers charon's questions about the network from the configuration, because
 * charon runs in an empty network namespace.
 */

#ifndef ENCSYNC_NET_H_
#define ENCSYNC_NET_H_

#include <kernel/kernel_net.h>

typedef struct encsync_net_t encsync_net_t;

/**
 * Kernel network interface without a kernel.
 */
struct encsync_net_t {

	/**
	 * Implements kernel_net_t.
	 */
	kernel_net_t interface;
};

/**
 * Create an encsync_net_t instance (kernel_net_constructor_t).
 */
encsync_net_t *encsync_net_create();

#endif /** ENCSYNC_NET_H_ */
