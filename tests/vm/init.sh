#!/bin/busybox sh
# shellcheck shell=dash
# SPDX-License-Identifier: ISC
# The guest, part one: from the initramfs to a root that is the host's, read-only, under a layer
# in memory. What goes wrong here is seen on the console; the host finds no status.
busybox=/bin/busybox
$busybox mount -t proc proc /proc
while read -r module; do
    $busybox insmod "/modules/$module" || echo "init: no $module"
done </modules/order
plan9="trans=virtio,version=9p2000.L,msize=512000"
$busybox mount -t 9p -o "ro,cache=loose,$plan9" host /host &&
    $busybox mount -t tmpfs -o mode=755 memory /memory &&
    $busybox mkdir /memory/upper /memory/work &&
    $busybox mount -t overlay -o lowerdir=/host,upperdir=/memory/upper,workdir=/memory/work \
        overlay /newroot &&
    $busybox mount -t tmpfs -o mode=755 run /newroot/run &&
    $busybox mkdir /newroot/run/host &&
    $busybox mount -t 9p -o "$plan9" results /newroot/run/host || $busybox poweroff -f
$busybox umount /proc
exec $busybox switch_root /newroot /bin/bash /run/host/inside.sh
