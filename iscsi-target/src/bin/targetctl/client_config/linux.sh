#!/bin/sh
# Make this machine a client of @IQN@. As root; it can be run again.
set -eu
iqn='@IQN@'

# Multipath first: with a replacement_timeout of 0 a disk without it has an I/O error at each interruption.
if ! multipath -t | grep -q '"@VENDOR@"'; then
    echo 'First: targetctl client-config linux --file multipath, as /etc/multipath/conf.d/twinhead.conf' >&2
    exit 1
fi
multipathd reconfigure

# Either head names the portals of both; one of them may be down.
discover() { iscsiadm -m discovery -t sendtargets -p "$1" -o new; }
discover '@PORTAL@' ||
    { echo 'No portal answers.' >&2; exit 1; }

# For this target alone; as in twinhead-iscsid.conf, where the reasons are (--file iscsid).
set_value() { iscsiadm -m node -T "$iqn" -o update -n "$1" -v "$2"; }
set_value '@NAME@' '@VALUE@'

# Through all portals of both heads at once, so that the other path is there before it is needed. 15: logged in already.
# A head that is down does no harm, but iscsid gives up a first login after two minutes, also when this machine starts:
# then run this line again when the head is back. What was logged in once comes back by itself.
iscsiadm -m node -T "$iqn" --login || [ $? -eq 15 ] || echo 'Not through every portal; see above.' >&2

# One disk, two groups of paths: the owner's with prio=50, the other head's with prio=1.
multipath -ll
