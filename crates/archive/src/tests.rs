//! Archives of containerd and CRI-O, and hostile ones.

use crate::documents::{ConfigDump, SpecDump};
use crate::identity::{self, Expected};
use crate::judge::{Files, LIMITS, chain};
use crate::read::{Contents, read};

mod corpus;
pub(crate) mod crio;
pub(crate) mod ctrd;
mod files;
mod folders;
mod golden;
mod hostile;
mod long;
mod properties;
pub(crate) mod tape;

/// What becomes of an archive whose checkpoint is expected to be that one: all steps that do not need a file system.
fn saved(bytes: &[u8], expected: &Expected<'_>) -> Result<(Contents, Files), String> {
    let mut files = Files::default();
    let contents = read(bytes, bytes.len() as u64, &LIMITS, &mut files).map_err(|error| chain(&error))?;
    let config = ConfigDump::parse(&contents.config).map_err(|error| chain(&error))?;
    let spec = SpecDump::parse(&contents.spec).map_err(|error| chain(&error))?;
    identity::check(&config, &spec, expected).map_err(|error| chain(&error))?;
    Ok((contents, files))
}
