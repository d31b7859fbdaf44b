/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/**
 * Passes the SAs that charon negotiates to encsyncd, which implements ESP.
 */

#ifndef ENCSYNC_IPSEC_H_
#define ENCSYNC_IPSEC_H_

#include <kernel/kernel_ipsec.h>

typedef struct encsync_ipsec_t encsync_ipsec_t;

/**
 * Kernel IPsec interface on the channel.
 */
struct encsync_ipsec_t {

	/**
	 * Implements kernel_ipsec_t.
	 */
	kernel_ipsec_t interface;
};

/**
 * Create an encsync_ipsec_t instance (kernel_ipsec_constructor_t).
 */
encsync_ipsec_t *encsync_ipsec_create();

#endif /** ENCSYNC_IPSEC_H_ */
