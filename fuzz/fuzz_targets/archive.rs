//! Any bytes as a checkpoint archive, as they are and with right checksums: what `judge` says about them must be true.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    snapwatcher_archive::judge::judge(bytes);
});
