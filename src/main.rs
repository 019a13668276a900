//! The `cnm-cni` binary.
fn main() {}
