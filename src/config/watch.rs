//! The watch of pods.

use clap::Args;

use super::values::namespace;

#[derive(Debug, Clone, Args)]
pub struct WatchArgs {
    /// Namespaces whose pods are watched, comma-separated. Empty: all namespaces.
    #[arg(long, env = "SNAPWATCHER_NAMESPACES", value_name = "NAMES", value_delimiter = ',', value_parser = namespace)]
    pub namespaces: Vec<String>,
}

impl WatchArgs {
    /// The namespaces, sorted and each once; an empty list means all.
    pub fn namespaces(&self) -> Vec<String> {
        let mut names: Vec<String> = self.namespaces.iter().filter(|name| !name.is_empty()).cloned().collect();
        names.sort();
        names.dedup();
        names
    }
}
