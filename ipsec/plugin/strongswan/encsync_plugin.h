/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/**
 * The plugin that makes charon the IKE daemon of encsyncd: it receives its peers
 * and keys from encsyncd, exchanges IKE datagrams through it, and reports its
 * SAs to it. It implements nothing but IKEv2.
 */

#ifndef ENCSYNC_PLUGIN_H_
#define ENCSYNC_PLUGIN_H_

#include <plugins/plugin.h>

/**
 * The descriptor of the channel to encsyncd.
 */
int encsync_plugin_channel();

#endif /** ENCSYNC_PLUGIN_H_ */
