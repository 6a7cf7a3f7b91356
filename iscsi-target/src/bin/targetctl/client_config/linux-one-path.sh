#!/bin/sh
# Make this machine a client of @IQN@. As root; it can be run again.
set -eu
iqn='@IQN@'

iscsiadm -m discovery -t sendtargets -p '@PORTAL@' -o new

# For this target alone; as with --file iscsid.
set_value() { iscsiadm -m node -T "$iqn" -o update -n "$1" -v "$2"; }
set_value '@NAME@' '@VALUE@'

# 15: logged in already.
iscsiadm -m node -T "$iqn" --login || [ $? -eq 15 ]
