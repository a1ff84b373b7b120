//! The program with the overlap of CAs taken out: what shows that a rotation that loses calls is seen to lose them.

use std::process::ExitCode;

fn main() -> ExitCode {
    snapwatcher::program::main_with(|args| args.certificate.overlap = false)
}
