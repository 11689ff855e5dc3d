#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| leasehold_replication::testing::fuzz::frame(data));
