//! What a plugin writes when it succeeds.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cnm_cni_fuzz::result(bytes));
