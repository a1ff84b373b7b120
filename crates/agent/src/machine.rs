//! What a checkpoint of this node requires of another one.

use snapwatcher_archive::requirements::{Machine, Requirements, requirements};
use snapwatcher_archive::{ConfigDump, Contents};

/// The requirements of a checkpoint that was taken on this node.
pub(crate) fn requirements_here(config: &ConfigDump, contents: &Contents) -> Requirements {
    // Without it there are no features of the processor to compare.
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let kernel = rustix::system::uname();
    let kernel = kernel.release().to_string_lossy();
    let machine = Machine { architecture: std::env::consts::ARCH, cpuinfo: &cpuinfo, kernel: &kernel };
    requirements(&machine, config, &contents.log_head)
}

/// The architecture in Go's notation, as images name it.
pub(crate) fn go_architecture(architecture: &str) -> &str {
    match architecture {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
