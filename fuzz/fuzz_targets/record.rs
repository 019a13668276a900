//! The content of a record's file.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cnm_cni_fuzz::record(bytes));
