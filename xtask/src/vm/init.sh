#!/bin/busybox sh
# First process of the machine: builds a root out of the host's tree, runs one command in it, ends the machine.
# A fixed text: the command comes as lines of /job/argv, one word each, and is never read by a shell.
b=/bin/busybox
fail() {
    echo "vm: $*" >/dev/console
    $b reboot -f
}
$b mkdir -p /proc /sys /dev /host /root /job
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t devtmpfs dev /dev
for module in $($b cat /modules/order); do
    $b insmod /modules/$module || fail "cannot load $module"
done

# The host's tree, read only, below a memory file system; places where a test needs a real disk get one.
# Modules answer a moment after they are loaded, so the first mount may have to wait for its device.
tries=0
until $b mount -t virtiofs -o ro host /host 2>/dev/null; do
    tries=$((tries + 1))
    [ $tries -lt 100 ] || fail "cannot mount the host's tree"
    $b usleep 20000
done
$b mkdir /layer && $b mount -t tmpfs -o mode=755 layer /layer && $b mkdir /layer/up /layer/work
$b mount -t overlay -o lowerdir=/host,upperdir=/layer/up,workdir=/layer/work root /root || fail "cannot build the root"
$b mkdir /disk
$b mount -t ext4 -o noatime /dev/vda /disk || fail "cannot mount the disk"
for place in tmp var/tmp var/lib/daas; do
    $b mkdir -p /disk/$place /root/$place
    $b mount -o bind /disk/$place /root/$place
done
$b chmod 1777 /disk/tmp /disk/var/tmp
$b chmod 700 /disk/var/lib/daas
$b mount -t proc proc /root/proc
$b mount -t sysfs sysfs /root/sys
$b mount -t cgroup2 cgroup2 /root/sys/fs/cgroup || fail "cannot mount cgroup v2"
$b mount -t tmpfs -o mode=755 run /root/run
$b mount -o bind /dev /root/dev
$b mkdir -p /dev/pts /dev/shm /dev/mqueue
$b mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /root/dev/pts
$b mount -t tmpfs -o mode=1777 shm /root/dev/shm
$b mount -t mqueue mqueue /root/dev/mqueue
[ -e /dev/fd ] || $b ln -s /proc/self/fd /dev/fd
$b mount -o bind /job /root/mnt
$b ip link set lo up
$b hostname daas-vm
echo 1 >/proc/sys/kernel/panic
echo 1 >/proc/sys/net/ipv4/ip_forward

# The new root takes the place of the old one: a process that is only chrooted may not make user namespaces. It is
# shared with the mount namespaces that are made from it, as on any machine with systemd.
cd /root && $b mount -o move . / || fail "cannot move the root"
$b chroot . /bin/mount --make-rshared /

# Whoever started the machine boots it anew when this does not come.
echo "vm: up" >/dev/console

# A job for systemd: it becomes the first process, and the command is a unit of its own.
if [ -e /job/systemd ]; then
    units=etc/systemd/system
    $b cp /job/vm-job.service $units/vm-job.service || fail "cannot write a unit"
    # What a machine without hardware, users and network has no use for.
    for unit in udevd.service udev-trigger.service udev-settle.service hwdb-update.service random-seed.service \
        modules-load.service sysctl.service binfmt.service timesyncd.service logind.service firstboot.service \
        sysusers.service journal-flush.service remount-fs.service pstore.service update-utmp.service; do
        $b ln -sf /dev/null $units/systemd-$unit
    done
    for unit in etc-resolv.conf.mount keyboard-setup.service apparmor.service networking.service; do
        $b ln -sf /dev/null $units/$unit
    done
    $b umount proc sys/fs/cgroup
    exec $b chroot . /lib/systemd/systemd --system --unit=vm-job.service
fi

# As systemd does it: the test runs in a cgroup of its own whose controllers it may hand on.
for controller in cpu memory pids io; do
    echo "+$controller" >sys/fs/cgroup/cgroup.subtree_control || fail "no controller $controller"
done
$b mkdir sys/fs/cgroup/test.service
# The number of the bus in these names depends on the order in which modules met their devices.
set -- /dev/vport*p1 /dev/vport*p2
out=$1 code=$2
set --
while IFS= read -r word; do
    set -- "$@" "$word"
done </job/argv
{
    (
        echo 0 >sys/fs/cgroup/test.service/cgroup.procs
        exec $b chroot . "$@" 2>&1 </dev/null
    )
    echo $? >/job/code
} | $b cat >"$out" &
while [ ! -e /job/code ]; do $b usleep 20000; done
# What a left-over process still holds open must not keep the machine up; the last words need a moment.
$b usleep 200000
$b cat /job/code >"$code"
$b usleep 100000
$b reboot -f
