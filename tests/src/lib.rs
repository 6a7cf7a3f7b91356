//! Everything that proves the rest.
