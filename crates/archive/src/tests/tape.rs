//! Tar archives byte by byte, also those that no program would write.

pub(crate) type Block = [u8; 512];

/// A header as Go writes it, with a right checksum.
pub(crate) fn header(name: &str, flag: u8, size: u64) -> Block {
    let mut block = [0; 512];
    let size = format!("{size:011o}\0");
    for (at, text) in [
        (0, name.as_bytes()),
        (100, b"0000600\0"),
        (108, b"0000000\0"),
        (116, b"0000000\0"),
        (124, size.as_bytes()),
        (136, b"15074356000\0"),
        (156, &[flag]),
        (257, b"ustar\x0000"),
    ] {
        block[at..at + text.len()].copy_from_slice(text);
    }
    sealed(block)
}

/// With a right checksum.
pub(crate) fn sealed(mut block: Block) -> Block {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// With other bytes at that place.
pub(crate) fn patched(mut block: Block, at: usize, bytes: &[u8]) -> Block {
    block[at..at + bytes.len()].copy_from_slice(bytes);
    sealed(block)
}

/// A pax record, with its own length in front.
pub(crate) fn record(key: &str, value: &str) -> String {
    let rest = key.len() + value.len() + 3;
    let length = (1..9).map(|digits| rest + digits).find(|length| length.to_string().len() + rest == *length);
    format!("{} {key}={value}\n", length.unwrap())
}

/// An archive that is being written.
#[derive(Clone, Default)]
pub(crate) struct Tape(Vec<u8>);

impl Tape {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// A header and a content that need not fit together.
    pub(crate) fn entry(self, header: &Block, content: &[u8]) -> Self {
        let padding = content.len().next_multiple_of(512) - content.len();
        self.bytes(header).bytes(content).bytes(&vec![0; padding])
    }

    pub(crate) fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        let content = content.as_ref();
        self.entry(&header(name, b'0', content.len() as u64), content)
    }

    pub(crate) fn folder(self, name: &str) -> Self {
        self.entry(&header(name, b'5', 0), b"")
    }

    /// pax records for the next entry.
    pub(crate) fn records(self, records: &str) -> Self {
        self.entry(&header("PaxHeaders.0/x", b'x', records.len() as u64), records.as_bytes())
    }

    /// The blocks of zeros at the end.
    pub(crate) fn end(self) -> Vec<u8> {
        self.bytes(&[0; 1024]).0
    }

    pub(crate) fn without_end(self) -> Vec<u8> {
        self.0
    }
}
