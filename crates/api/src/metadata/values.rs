//! The labels or annotations of an object that are read, cut while they are decoded.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::checkpoint_name::shortened;
use crate::decoded_text::DecodedText;
use crate::keys;
use crate::pod::revision::is_revision;

/// The labels and annotations that are read of pods, Checkpoints and Snapshots, beside those of [`keys::MESH_PROXIES`]. All others are
/// skipped.
const READ_KEYS: [&str; 17] = [
    keys::SNAP,
    keys::MUTATED,
    keys::POD_TEMPLATE_HASH,
    keys::CONTROLLER_REVISION_HASH,
    keys::CONTAINERS,
    keys::DELAY,
    keys::ONCE_PER,
    keys::REVISION_LABEL,
    keys::ADMISSION,
    keys::MIRROR,
    keys::DEFAULT_CONTAINER,
    keys::WORKLOAD,
    keys::CLAIMED_BY,
    keys::ATTEMPT,
    keys::RESTORE_NAME,
    keys::SAVE,
    keys::KEEP,
];

/// All keys that are read.
fn read_keys() -> impl Iterator<Item = &'static str> {
    READ_KEYS.into_iter().chain(keys::MESH_PROXIES.map(|(injected, _)| injected))
}

/// The longest value of a label or an annotation that is kept, in bytes. Of a longer one the beginning and a digest are kept:
/// twice what the longest list of container names takes.
pub const LONGEST_VALUE: usize = 8192;

/// The longest valid key: a prefix of 253 characters, a slash, and a name of 63.
pub(super) const LONGEST_KEY: usize = 317;

/// Labels or annotations: those of [`read_keys`], and the first others that can name a revision.
pub(super) struct ReadValues<const OTHERS: usize>(pub(super) BTreeMap<String, String>);

impl<'de, const OTHERS: usize> Deserialize<'de> for ReadValues<OTHERS> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ReadValuesVisitor::<OTHERS>)
    }
}

struct ReadValuesVisitor<const OTHERS: usize>;

impl<'de, const OTHERS: usize> Visitor<'de> for ReadValuesVisitor<OTHERS> {
    type Value = ReadValues<OTHERS>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of strings")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let (mut values, mut others) = (BTreeMap::new(), 0);
        loop {
            let read_key = |key: &str| read_key(key, others < OTHERS);
            let key = map.next_key_seed(DecodedText { expected: "a key", read: read_key })?;
            let Some(key) = key else { return Ok(ReadValues(values)) };
            match key {
                Key::Read(key) => {
                    values.insert(
                        key.to_owned(),
                        map.next_value_seed(DecodedText { expected: "a string", read: read_value })?,
                    );
                }
                Key::Other(key) => {
                    if let Some(value) =
                        map.next_value_seed(DecodedText { expected: "a string", read: revision_value })?
                    {
                        values.insert(key, value);
                        others += 1;
                    }
                }
                Key::Skipped => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
    }
}

/// A key, copied only if its value may be kept.
enum Key {
    /// One of [`read_keys`].
    Read(&'static str),
    Other(String),
    Skipped,
}

fn read_key(key: &str, with_others: bool) -> Key {
    match read_keys().find(|read| *read == key) {
        Some(key) => Key::Read(key),
        None if with_others && key.len() <= LONGEST_KEY => Key::Other(key.to_owned()),
        None => Key::Skipped,
    }
}

/// A value, if it can name a revision.
fn revision_value(value: &str) -> Option<String> {
    is_revision(value).then(|| value.to_owned())
}

/// A value of at most [`LONGEST_VALUE`] bytes.
fn read_value(value: &str) -> String {
    shortened(value, LONGEST_VALUE)
}
