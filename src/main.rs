//! The executable: [`snapwatcher::program`] with jemalloc.

use std::process::ExitCode;

/// Returns memory to the system after a burst, by the options in `.cargo/config.toml`. glibc's allocator keeps it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    snapwatcher::program::main()
}
