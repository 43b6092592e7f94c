#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| djaffar_fuzz::pickle::check(data));
