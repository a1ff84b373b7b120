//! SnapWatcher with the system's allocator. libfaketime, which the tests of the clock preload, does not work with jemalloc.
//!
//! This package keeps programs for tests out of the product: `cargo install` installs `snapwatcher` alone.

use std::process::ExitCode;

fn main() -> ExitCode {
    snapwatcher::program::main()
}
