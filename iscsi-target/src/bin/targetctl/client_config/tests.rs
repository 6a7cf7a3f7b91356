use clap::ValueEnum;
use expect_test::expect;
use iscsi_target::daemon::config::Config;

use super::linux::{self, File};
use super::{esxi, kubernetes, windows};

const PAIR: &str = r#"
    target = { iqn = "iqn.2026-11.com.example:pair1" }
    heads.a = { portals = ["192.0.2.1:3260", "[2001:db8::1]:3261"], link = "198.51.100.1:3270" }
    heads.b = { portals = [{ listen = "0.0.0.0:3260", advertise = "b.example.com:3260" }], link = "198.51.100.2:3270" }
    link = { secret-file = "/etc/twinhead/link.secret" }
    luns = [{ id = 0, name = "db", disk = "/dev/sda" }, { id = 7, name = "iso", disk = "/dev/sdb", read-only = true }]
"#;

const SINGLE: &str = r#"
    target = { iqn = "iqn.2026-11.com.example:single" }
    heads.a = { portals = ["192.0.2.1:3260"] }
    luns = [{ id = 0, name = "db", disk = "/dev/sda" }]
"#;

fn config(text: &str) -> Config {
    Config::parse(text).unwrap()
}

/// What is done, without the reasons.
fn commands(text: &str) -> String {
    let is_command = |line: &&str| !line.trim_start().starts_with('#') && !line.is_empty();
    text.lines().filter(is_command).flat_map(|line| [line, "\n"]).collect()
}

#[test]
fn a_linux_client_of_a_pair() {
    expect![[r#"
        set -eu
        iqn='iqn.2026-11.com.example:pair1'
        if ! multipath -t | grep -q '"TWINHEAD"'; then
            echo 'First: targetctl client-config linux --file multipath, as /etc/multipath/conf.d/twinhead.conf' >&2
            exit 1
        fi
        multipathd reconfigure
        discover() { iscsiadm -m discovery -t sendtargets -p "$1" -o new; }
        discover '192.0.2.1:3260' ||
        discover '[2001:db8::1]:3261' ||
        discover 'b.example.com:3260' ||
            { echo 'No portal answers.' >&2; exit 1; }
        set_value() { iscsiadm -m node -T "$iqn" -o update -n "$1" -v "$2"; }
        set_value 'node.startup' 'automatic'
        set_value 'node.session.timeo.replacement_timeout' '0'
        set_value 'node.conn[0].timeo.noop_out_interval' '1'
        set_value 'node.conn[0].timeo.noop_out_timeout' '1'
        iscsiadm -m node -T "$iqn" --login || [ $? -eq 15 ] || echo 'Not through every portal; see above.' >&2
        multipath -ll
    "#]]
    .assert_eq(&commands(&linux::file(&config(PAIR), File::Script)));
    let everything = linux::everything(&config(PAIR));
    for file in File::value_variants() {
        assert!(everything.contains(&linux::file(&config(PAIR), *file)), "{file:?}");
    }
}

#[test]
fn a_linux_client_with_one_path() {
    expect![[r#"
        node.startup = automatic
        node.session.timeo.replacement_timeout = 120
        set -eu
        iqn='iqn.2026-11.com.example:single'
        iscsiadm -m discovery -t sendtargets -p '192.0.2.1:3260' -o new
        set_value() { iscsiadm -m node -T "$iqn" -o update -n "$1" -v "$2"; }
        set_value 'node.startup' 'automatic'
        set_value 'node.session.timeo.replacement_timeout' '120'
        iscsiadm -m node -T "$iqn" --login || [ $? -eq 15 ]
    "#]]
    .assert_eq(&commands(&linux::everything(&config(SINGLE))));
}

#[test]
fn an_esxi_host() {
    expect![[r#"
        esxcli storage nmp satp rule add --satp=VMW_SATP_ALUA --vendor=TWINHEAD --model=VIRTUAL-DISK --psp=VMW_PSP_RR \
            --claim-option=tpgs_on --description='Twinhead'
        esxcli iscsi software set --enabled=true
        adapter=$(esxcli iscsi adapter list | awk '$2 == "iscsi_vmk" { print $1 }')
        esxcli iscsi adapter discovery sendtarget add --adapter="$adapter" --address='192.0.2.1:3260'
        esxcli iscsi adapter discovery sendtarget add --adapter="$adapter" --address='[2001:db8::1]:3261'
        esxcli iscsi adapter discovery sendtarget add --adapter="$adapter" --address='b.example.com:3260'
        esxcli iscsi adapter param set --adapter="$adapter" --key=NoopOutInterval --value=1
        esxcli iscsi adapter param set --adapter="$adapter" --key=NoopOutTimeout --value=10
        esxcli iscsi adapter param set --adapter="$adapter" --key=RecoveryTimeout --value=1
        esxcli storage core adapter rescan --adapter="$adapter"
        esxcli storage nmp path list
    "#]]
    .assert_eq(&commands(&esxi::text(&config(PAIR))));
}

#[test]
fn a_windows_server() {
    expect![[r#"
        Install-WindowsFeature -Name Multipath-IO
        New-MSDSMSupportedHW -VendorId 'TWINHEAD' -ProductId 'VIRTUAL-DISK    '
        Set-MPIOSetting -NewPathVerificationState Enabled -NewPathVerificationPeriod 10
        Set-MPIOSetting -NewPDORemovePeriod 60 -CustomPathRecovery Enabled -NewPathRecoveryInterval 10
        Set-MPIOSetting -NewRetryCount 10 -NewRetryInterval 1
        Set-MPIOSetting -NewDiskTimeout 30
        $class = 'HKLM:\SYSTEM\CurrentControlSet\Control\Class\{4D36E97B-E325-11CE-BFC1-08002BE10318}'
        Get-ChildItem $class -ErrorAction SilentlyContinue |
            Where-Object { (Get-ItemProperty $_.PSPath).DriverDesc -eq 'Microsoft iSCSI Initiator' } |
            ForEach-Object { Set-ItemProperty "$($_.PSPath)\Parameters" -Name LinkDownTime -Value 1 -Type DWord }
        Set-Service -Name MSiSCSI -StartupType Automatic
        Start-Service -Name MSiSCSI
        New-IscsiTargetPortal -TargetPortalAddress '192.0.2.1' -TargetPortalPortNumber 3260
        New-IscsiTargetPortal -TargetPortalAddress '2001:db8::1' -TargetPortalPortNumber 3261
        New-IscsiTargetPortal -TargetPortalAddress 'b.example.com' -TargetPortalPortNumber 3260
        $target = @{ NodeAddress = 'iqn.2026-11.com.example:pair1'; IsMultipathEnabled = $true; IsPersistent = $true }
        Connect-IscsiTarget @target -TargetPortalAddress '192.0.2.1' -TargetPortalPortNumber 3260
        Connect-IscsiTarget @target -TargetPortalAddress '2001:db8::1' -TargetPortalPortNumber 3261
        Connect-IscsiTarget @target -TargetPortalAddress 'b.example.com' -TargetPortalPortNumber 3260
        Update-MPIOClaimedHW -Confirm:$false
        Get-Disk | Where-Object FriendlyName -like 'TWINHEAD*'
    "#]]
    .assert_eq(&commands(&windows::text(&config(PAIR))));
}

#[test]
fn volumes_of_kubernetes() {
    expect![[r#"
        ---
        apiVersion: v1
        kind: PersistentVolume
        metadata:
          name: twinhead-lun-0  # "db"
        spec:
          capacity: { storage: 1Gi }
          accessModes: [ReadWriteOnce]
          persistentVolumeReclaimPolicy: Retain
          storageClassName: ""
          iscsi:
            targetPortal: "192.0.2.1:3260"
            portals: ["[2001:db8::1]:3261", "b.example.com:3260"]
            iqn: iqn.2026-11.com.example:pair1
            lun: 0
            fsType: ext4
            readOnly: false
        ---
        apiVersion: v1
        kind: PersistentVolume
        metadata:
          name: twinhead-lun-7  # "iso"
        spec:
          capacity: { storage: 1Gi }
          accessModes: [ReadOnlyMany]
          persistentVolumeReclaimPolicy: Retain
          storageClassName: ""
          iscsi:
            targetPortal: "192.0.2.1:3260"
            portals: ["[2001:db8::1]:3261", "b.example.com:3260"]
            iqn: iqn.2026-11.com.example:pair1
            lun: 7
            fsType: ext4
            readOnly: true
    "#]]
    .assert_eq(&commands(&kubernetes::text(&config(PAIR))));
    let text = kubernetes::text(&config(PAIR));
    assert!(text.contains("\n# b.example.com:3260: put the address here"), "{text}");
    assert!(kubernetes::text(&config(SINGLE)).contains("portals: []"));
}

fn every_text() -> Vec<String> {
    [PAIR, SINGLE]
        .map(config)
        .iter()
        .flat_map(|config| {
            [linux::everything(config), esxi::text(config), windows::text(config), kubernetes::text(config)]
        })
        .collect()
}

#[test]
fn no_gap_is_left_open() {
    for text in every_text() {
        let is_gap = |word: &str| word.len() > 1 && word.chars().all(|c| c.is_ascii_uppercase());
        assert!(!text.split('@').skip(1).any(is_gap), "{text}");
    }
}

#[test]
fn what_was_not_tried_says_so() {
    let pair = config(PAIR);
    for text in [esxi::text(&pair), windows::text(&pair), kubernetes::text(&pair)] {
        assert!(text.contains("not tried by this project's tests"), "{text}");
    }
}
