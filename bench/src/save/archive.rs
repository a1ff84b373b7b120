//! An archive of any size whose content is like memory: programs and libraries of this machine, one after the other.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::json;

/// Whose archive it is.
pub(super) const NAMESPACE: &str = "default";
pub(super) const POD: &str = "web-1";
pub(super) const POD_UID: &str = "6d2f1c6b-8b3a-4a9e-9c5f-7d0b2d0c5a11";
pub(super) const CONTAINER: &str = "app";
pub(super) const IMAGE: &str = "example.com/web:1";

const FOLDERS: [&str; 2] = ["/usr/bin", "/usr/lib/x86_64-linux-gnu"];

/// Reads regular files one after the other, again and again.
struct Memory {
    files: Vec<PathBuf>,
    next: usize,
    current: Box<dyn Read>,
}

impl Memory {
    fn new() -> Result<Self, Box<dyn Error>> {
        let mut files = Vec::new();
        for folder in FOLDERS.iter().filter(|folder| Path::new(folder).is_dir()) {
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                if entry.file_type()?.is_file() && entry.metadata()?.len() > 0 {
                    files.push(entry.path());
                }
            }
        }
        files.sort();
        if files.is_empty() {
            return Err("this machine has no programs whose bytes could be used".into());
        }
        Ok(Self { files, next: 0, current: Box::new(io::empty()) })
    }
}

impl Read for Memory {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.current.read(buffer)?;
            if read > 0 {
                return Ok(read);
            }
            let path = &self.files[self.next % self.files.len()];
            self.next += 1;
            self.current = Box::new(File::open(path)?);
        }
    }
}

/// Writes an archive with so many bytes of memory.
pub(super) fn write(path: &Path, bytes: u64) -> Result<(), Box<dyn Error>> {
    let config = json!({"name": format!("{CONTAINER}_{POD}_{NAMESPACE}_{POD_UID}_0"), "rootfsImageName": IMAGE,
        "rootfsImageRef": IMAGE, "runtime": "io.containerd.runc.v2"});
    let spec = json!({"annotations": {
        "io.kubernetes.cri.container-name": CONTAINER, "io.kubernetes.cri.image-name": IMAGE,
        "io.kubernetes.cri.sandbox-name": POD, "io.kubernetes.cri.sandbox-namespace": NAMESPACE,
        "io.kubernetes.cri.sandbox-uid": POD_UID}});
    let (config, spec) = (config.to_string(), spec.to_string());
    let mut tar = tar::Builder::new(BufWriter::new(File::create(path)?));
    let mut folder = header(0);
    folder.set_entry_type(tar::EntryType::Directory);
    tar.append_data(&mut folder, "checkpoint/", io::empty())?;
    tar.append_data(&mut header(9), "checkpoint/inventory.img", &b"inventory"[..])?;
    tar.append_data(&mut header(bytes), "checkpoint/pages-1.img", Memory::new()?.take(bytes))?;
    tar.append_data(&mut header(length(&config)), "config.dump", config.as_bytes())?;
    tar.append_data(&mut header(length(&spec)), "spec.dump", spec.as_bytes())?;
    tar.into_inner()?.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(())
}

fn header(bytes: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(0o600);
    header.set_size(bytes);
    header
}

fn length(text: &str) -> u64 {
    u64::try_from(text.len()).unwrap_or(u64::MAX)
}
