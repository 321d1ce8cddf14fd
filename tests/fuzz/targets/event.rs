#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| connects_tests::fuzzing::event(data));
