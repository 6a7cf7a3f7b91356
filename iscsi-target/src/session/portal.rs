//! What a portal tells initiators about the target: the same on both heads, but for the tag.

/// An address where the target can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortalAddress {
    /// TargetPortalGroupTag: which head it belongs to.
    pub target_portal_group_tag: u16,
    /// As advertised: `address:port`, IPv6 in brackets.
    pub address: String,
}

/// Everything that a connection needs to know about the target and the portal it came in by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortalConfig {
    /// The target's iSCSI name.
    pub target_name: String,
    /// A name for humans; empty for none, and left out when longer than [`super::limits::MAX_ALIAS_BYTES`].
    pub target_alias: String,
    /// The tag of the portal that accepted the connection.
    pub target_portal_group_tag: u16,
    /// All portals of both heads, for discovery.
    pub portals: Vec<PortalAddress>,
}
