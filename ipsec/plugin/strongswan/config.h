/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What strongSwan's headers expect from its configure script, as Debian builds it. ME, which
 * changes the layout of structures, is set by CMakeLists.txt as the installed charon has it.
 */

#ifndef CONFIG_H_INCLUDED
#define CONFIG_H_INCLUDED

#define HAVE_SIGWAITINFO 1
#define HAVE_CLOSEFROM 1
#define HAVE_EXPLICIT_BZERO 1

#endif /* CONFIG_H_INCLUDED */
