//! Any text as a configuration: either every rule holds that the daemon relies on, or there are problems, each of them
//! said in words; and the heads agree with themselves.
#![no_main]

use std::collections::BTreeSet;

use iscsi_target::daemon::config::{Config, differences};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Config::parse(text) {
        Ok(config) => {
            assert!(!config.luns.is_empty() && !config.heads.is_empty());
            assert!(config.limits.lease < config.limits.takeover);
            assert_eq!(config.single(), config.heads.len() == 1);
            assert!(config.heads.values().all(|head| !head.portals.is_empty()));
            let names: BTreeSet<_> = config.luns.values().map(|lun| &lun.name).collect();
            assert_eq!(names.len(), config.luns.len(), "names are unique");
            assert_eq!(Config::parse(text).as_ref(), Ok(&config));
            let agreement = config.pair_agreement();
            assert!(differences(&agreement, &agreement).is_empty());
            let open = config.luns.keys().copied().collect();
            assert!(config.change_to(&config, &open).expect("nothing has changed").is_empty());
        }
        Err(invalid) => assert!(!invalid.to_string().trim().is_empty()),
    }
});
