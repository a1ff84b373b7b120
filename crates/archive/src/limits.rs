//! How much an archive may contain. The size of the whole is a rule of [`crate::Archive::open`].

/// The limits of one archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Files and folders. CRIU writes one image for each thread and about ten for each process, and the names of all entries
    /// are in memory while an archive is read: about 100 bytes each.
    pub entries: u32,
    /// Bytes of each small file of the runtime, such as `config.dump`. Two of them are held in memory. The largest part of
    /// `spec.dump` is the environment, which Linux limits to 6 MiB on its way to `execve`, and the API server to 1.5 MiB in
    /// a pod.
    pub document: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { entries: 32_768, document: 4 << 20 }
    }
}
