# Windows Server, as a client of @IQN@; PowerShell as administrator.
# Written from the vendor's documentation; not tried by this project's tests.

# 1. Multipath I/O, for just these disks: the names are compared in full length, 8 and 16 characters with their blanks.
#    Without it each path is a disk of its own. Restart if the first line asks for it.
#    No load balance policy is set: MSDSM follows what the heads report by ALUA.
Install-WindowsFeature -Name Multipath-IO
New-MSDSMSupportedHW -VendorId '@VENDOR@' -ProductId '@PRODUCT@'

# 2. Timers of multipath I/O. The numbers are a judgement.
#    Every path is looked at every 10 s (otherwise not at all), so that a dead one is known before it is needed.
Set-MPIOSetting -NewPathVerificationState Enabled -NewPathVerificationPeriod 10
#    A disk that has lost all paths stays for a minute instead of 20 s: longer than it takes to start a head again.
#    After that it is gone for who uses it. Paths are sought every 10 s meanwhile; by default only after it is gone.
Set-MPIOSetting -NewPDORemovePeriod 60 -CustomPathRecovery Enabled -NewPathRecoveryInterval 10
#    A request that failed for a passing reason is tried 10 times, once a second, instead of 3: room for a takeover.
Set-MPIOSetting -NewRetryCount 10 -NewRetryInterval 1
#    A cut cable says nothing: it is noticed when a request gets no answer in this time. The documentation advises 30 s at
#    most.
Set-MPIOSetting -NewDiskTimeout 30

# 3. Timers of the iSCSI initiator; they count after a restart.
#    LinkDownTime: seconds for which a path without a connection keeps its requests before the other path gets them,
#    15 by default. MaxRequestHoldTime is the same for disks without multipath I/O, 60 by default, and is left alone.
$class = 'HKLM:\SYSTEM\CurrentControlSet\Control\Class\{4D36E97B-E325-11CE-BFC1-08002BE10318}'
Get-ChildItem $class -ErrorAction SilentlyContinue |
    Where-Object { (Get-ItemProperty $_.PSPath).DriverDesc -eq 'Microsoft iSCSI Initiator' } |
    ForEach-Object { Set-ItemProperty "$($_.PSPath)\Parameters" -Name LinkDownTime -Value 1 -Type DWord }

# 4. The portals of both heads, one session through each, again after each restart of this machine.
Set-Service -Name MSiSCSI -StartupType Automatic
Start-Service -Name MSiSCSI
New-IscsiTargetPortal -TargetPortalAddress '@HOST@' -TargetPortalPortNumber @PORT@
$target = @{ NodeAddress = '@IQN@'; IsMultipathEnabled = $true; IsPersistent = $true }
Connect-IscsiTarget @target -TargetPortalAddress '@HOST@' -TargetPortalPortNumber @PORT@

# 5. One disk, not two; `mpclaim -s -d 0` shows its paths, the owner's as Active/Optimized.
Update-MPIOClaimedHW -Confirm:$false
Get-Disk | Where-Object FriendlyName -like '@VENDOR@*'
