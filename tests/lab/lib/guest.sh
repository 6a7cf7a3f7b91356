# Sourced after networks.sh: stock Linux clients, each a virtual machine under software emulation.
#
# A guest has one network card for the lab (net0, by which it is told what to do) and one for each client network (net1
# on `client`, net2 on `second`). Its image is shared and never written to; what it writes is gone when it ends.
# shellcheck shell=bash

cache=${TWINHEAD_LAB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/twinhead-lab}
memory_mib=1024
declare -A guest_pid=()
# One connection for each guest, over which everything goes.
ssh_options=(-F none -i "$cache/key" -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR)
ssh_options+=(-o ConnectTimeout=2 -o ServerAliveInterval=10 -o ControlMaster=auto -o ControlPath="$work/ssh.%h" -o ControlPersist=yes)

# build_guest: the image, unless it is there.
build_guest() { "$root/tests/lab/guest/build" "$cache"; }

# boot_guest NUMBER: returns when it answers.
#
# Programs are loaded at the same addresses each time (norandmaps): the emulator keeps translated code by its address. At
# random ones every new process fills its gigabyte with the same code once more, within 45 s, and when it is full, all of
# it is thrown away: the guest stands still for a tenth of a second, and longer than that until it is translated again.
boot_guest() {
    local number=$1 networks=(lab client) network card=0 arguments=()
    has_link br-lab || make_lab_network || return 1
    ! has_link br-second || networks+=(second)
    for network in "${networks[@]}"; do
        ip tuntap add "$network-$number" mode tap && ip link set dev "$network-$number" master "br-$network" up || return 1
        arguments+=(-netdev "tap,id=n$card,ifname=$network-$number,script=no,downscript=no")
        arguments+=(-device "virtio-net-pci,netdev=n$card,mac=$(printf '52:54:00:77:%02x:%02x' "$number" "$card")")
        card=$((card + 1))
    done
    qemu-system-x86_64 -accel tcg,thread=multi -machine q35 -cpu max,-la57,-svm -smp 2 -m "$memory_mib" \
        -nodefaults -no-user-config -display none -no-reboot -device virtio-rng-pci \
        -kernel "$cache/vmlinux" -initrd "$cache/initramfs" -append 'console=ttyS0 quiet panic=-1 norandmaps' \
        -serial "file:$work/console.$number" \
        -drive "file=$cache/root.img,format=raw,if=none,id=root,snapshot=on" \
        -device virtio-blk-pci,drive=root "${arguments[@]}" >"$work/qemu.$number" 2>&1 </dev/null &
    guest_pid[$number]=$!
    started+=("$!")
    eventually 120 answers_or_is_gone "$number" && is_running "${guest_pid[$number]}"
}
answers_or_is_gone() { is_gone "${guest_pid[$1]}" || on "$1" true; }

has_link() { ip link show dev "$1" >/dev/null 2>&1; }
make_lab_network() {
    ip link add name br-lab type bridge && ip link set dev br-lab up && ip addr add 10.77.0.1/24 dev br-lab
}

# on NUMBER COMMAND...: as root in that guest, as a shell there understands it; standard input and output are passed on.
on() {
    local number=$1
    shift
    ssh "${ssh_options[@]}" "root@10.77.0.$((10 + number))" "$@"
}

# give NUMBER FILE...: copied to /opt of that guest.
give() {
    local number=$1
    shift
    tar -C / -cf - "${@#/}" --transform 's|.*/||' | on "$number" 'tar -C /opt -xf -'
}

# forget_connection NUMBER: the next command connects anew.
forget_connection() { ssh "${ssh_options[@]}" -O exit "root@10.77.0.$((10 + $1))" 2>/dev/null || true; }

# end_guest NUMBER: like a power failure, with what connected it to the networks.
end_guest() {
    local network
    forget_connection "$1"
    { end "${guest_pid[$1]}" KILL && wait "${guest_pid[$1]}"; } 2>/dev/null
    unset "guest_pid[$1]"
    for network in lab client second; do
        ! has_link "$network-$1" || ip link del "$network-$1"
    done
}

# show_guest NUMBER: what its kernel and its daemons said, after a failure.
show_guest() {
    tail -n "${LOG_LINES:-60}" "$work/console.$1" | sed "s/^/      kernel| /"
    on "$1" 'tail -n 40 /run/iscsid.log /run/multipathd.log; multipath -ll; iscsiadm -m session -P 1' 2>&1 | sed "s/^/      client| /"
}
