#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| leasehold_contract::testing::fuzz::role_file(data));
