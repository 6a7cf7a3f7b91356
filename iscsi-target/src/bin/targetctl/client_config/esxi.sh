# ESXi, as a client of @IQN@; in the shell of each host.
# Written from the vendor's documentation; not tried by this project's tests.

# 1. How its disks are claimed. The default rule for ALUA sends everything over the path used most recently; round robin
#    uses all paths of the owner, never the other head's while the owner's work. tpgs_on: only where ALUA is reported.
#    The rule counts for disks that are found later: add it first, or restart the host.
esxcli storage nmp satp rule add --satp=VMW_SATP_ALUA --vendor=@VENDOR@ --model=@MODEL@ --psp=VMW_PSP_RR \
    --claim-option=tpgs_on --description='Twinhead'

# 2. The software initiator, and the portals. Either head names the portals of both; both are given, because one may be
#    down when the host starts.
esxcli iscsi software set --enabled=true
adapter=$(esxcli iscsi adapter list | awk '$2 == "iscsi_vmk" { print $1 }')
esxcli iscsi adapter discovery sendtarget add --adapter="$adapter" --address='@PORTAL@'
#    Instead of these, where discovery is not wanted:
#    esxcli iscsi adapter discovery statictarget add --adapter="$adapter" --address='@PORTAL@' --name='@IQN@'

# 3. How a dead path is found. The numbers are a judgement; what is in force, and what is allowed, is shown by
#    esxcli iscsi adapter param get --adapter="$adapter"
#    A head is asked after a second of silence instead of 15, and has 10 s to answer, the least there is: a cut cable is
#    noticed after about 11 s instead of 25.
esxcli iscsi adapter param set --adapter="$adapter" --key=NoopOutInterval --value=1
esxcli iscsi adapter param set --adapter="$adapter" --key=NoopOutTimeout --value=10
#    How long a lost session keeps its commands for a new connection; 10 by default. There is another path: do not wait.
esxcli iscsi adapter param set --adapter="$adapter" --key=RecoveryTimeout --value=1
#    DelayedAck is left on. It is switched off for arrays that wait for an acknowledgement before they send the rest of
#    an answer; the heads do not wait (TCP_NODELAY). If reads are slow all the same, try it, and restart the host:
#    esxcli iscsi adapter param set --adapter="$adapter" --key=DelayedAck --value=false

# 4. Port binding. Bound VMkernel ports connect to every portal, so bind them only if each of them reaches every portal
#    (one subnet). With a subnet for each head, bind none: the host goes by its routes, with one session for each portal.
#    esxcli iscsi networkportal add --adapter="$adapter" --nic=vmk1

# 5. Find the disks. Per disk, one path is `active`, the other head's is `standby`.
esxcli storage core adapter rescan --adapter="$adapter"
esxcli storage nmp path list
