//! What a plugin writes when it fails.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cnm_cni_fuzz::plugin_error(bytes));
