//! The value of `CNI_ARGS`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cnm_cni_fuzz::cni_args(bytes));
