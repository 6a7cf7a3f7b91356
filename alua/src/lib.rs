//! Asymmetric logical unit access (SPC-4 5.11): states and legal moves, target port groups and ports, what each state
//! lets through, and the bytes of REPORT and SET TARGET PORT GROUPS. Pure; knows no other crate.
