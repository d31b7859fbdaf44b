/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/**
 * Passes the SAs that charon negotiates to encsyncd, which implements ESP.
 */

#ifndef ENCSYNC_IPSEC_H_
#define ENCSYNC_IPSEC_H_

#include <kernel/kernel_ipsec.h>
#include <sa/ike_sa.h>

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

/**
 * Report that the ends do not agree on the mode.
 *
 * @param ike_sa	IKE_SA with the peer
 * @param transport	TRUE if the peer takes transport mode
 */
void encsync_refuse_mode(ike_sa_t *ike_sa, bool transport);

#endif /** ENCSYNC_IPSEC_H_ */
