//! The options of a network and of an endpoint.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cnm_cni_fuzz::options(bytes));
