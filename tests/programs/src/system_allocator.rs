//! The program with the system's allocator: what a tool needs that replaces the clock by preloading a library.

use std::process::ExitCode;

fn main() -> ExitCode {
    snapwatcher::program::main()
}
