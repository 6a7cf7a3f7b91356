//! Ready configurations, as they stand beside this crate.

/// Two heads that share one disk.
pub const PAIR: &str = include_str!("../pair.toml");
/// One head alone.
pub const SINGLE: &str = include_str!("../single.toml");

#[cfg(test)]
mod tests {
    use iscsi_target::daemon::config::Config;

    #[test]
    fn the_configurations_are_accepted() {
        assert!(!Config::parse(super::PAIR).unwrap().single());
        assert!(Config::parse(super::SINGLE).unwrap().single());
    }
}
