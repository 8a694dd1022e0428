# Boots systemd in namespaces of its own, on an overlay of the machine's files that is thrown away: nothing that it does
# reaches what is below. Wants CGROUP, a control group for it alone, UNITS and OUT, folders of the test.
# Process 1 is this shell's child, so that it ends when this is killed.
mkdir "$CGROUP"
echo $$ > "$CGROUP/cgroup.procs"
container=wellkept exec unshare --kill-child --pid --fork --mount --cgroup --ipc --uts --net sh -ec '
mount --make-rprivate /; mount -t tmpfs t /mnt; mkdir /mnt/u /mnt/w /mnt/r
mount -t overlay -o lowerdir=/,upperdir=/mnt/u,workdir=/mnt/w o /mnt/r; R=/mnt/r
mount -t tmpfs t $R/tmp; mount -t tmpfs t $R/run; mount -t tmpfs -o mode=755 t $R/dev; mkdir $R/dev/shm $R/old $R/out
for d in null zero full random urandom tty; do : > $R/dev/$d; mount --bind /dev/$d $R/dev/$d; done
mount -t proc p $R/proc; mount --bind $R/proc/sys $R/proc/sys; mount -o remount,bind,ro $R/proc/sys
mount -t sysfs -o ro s $R/sys; mount -t cgroup2 c $R/sys/fs/cgroup
mkdir -p $R/run/systemd; cp -a "$UNITS" $R/run/systemd/system; mount --bind "$OUT" $R/out
cd $R; pivot_root . old; umount -l /old; cd /
# The rules of a machine that boots empty its folder of temporary files, and an unknown target is the rescue, which has them
# all run: never past this line on the files of the machine itself, and never without the target.
[ "$(stat -f -c %T /)" = overlayfs ]
[ "$(stat -f -c %T /tmp)" = tmpfs ]
[ -e /run/systemd/system/wellkept-test.target ]
(until systemctl list-units > /dev/null 2>&1; do sleep 0.02; done; : > /out/booted) &
exec /lib/systemd/systemd --system --unit=wellkept-test.target --log-target=console --show-status=no'
