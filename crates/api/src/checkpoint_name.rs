//! The names of Checkpoints that SnapWatcher creates. A name is derived from the target, so that one target can be claimed once:
//! the API server creates no second object of the same name.
//!
//! A golden test freezes the scheme, because another name for the same target would be another claim.

use std::fmt::Write as _;
use std::ops::RangeInclusive;

use sha2::{Digest, Sha256};

use crate::checkpoint::CheckpointTarget;
use crate::pod::is_object_name;

/// The longest name of an object, an RFC 1123 subdomain, see
/// <https://kubernetes.io/docs/concepts/overview/working-with-objects/names/>.
const LONGEST_NAME: usize = 253;
/// The longest value of a label, see
/// <https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/>.
const LONGEST_LABEL: usize = 63;
/// Hexadecimal digits at the end of a name: 40 bits distinguish targets with the same readable part.
const DIGEST: usize = 10;
const LONGEST_DIGEST: usize = 4 * DIGEST;
/// The lengths of the digest, in the order in which they are tried: a longer one if another target has the name.
pub const DIGESTS: [usize; 3] = [DIGEST, 2 * DIGEST, LONGEST_DIGEST];
/// The numbers behind the longest digest, if other targets have those names too. People can take the names of a pod on purpose.
const NUMBERS: RangeInclusive<u16> = 2..=100;

/// The name of the Checkpoint for this target, with `digest` hexadecimal digits. `None` for a manual Checkpoint: its author
/// chooses the name.
pub fn derived(target: &CheckpointTarget, digest: usize) -> Option<String> {
    with_end(target, digest, "")
}

fn with_end(target: &CheckpointTarget, digest: usize, end: &str) -> Option<String> {
    match target {
        CheckpointTarget::Pod { name, uid, container, image } => {
            Some(named(name, container, &format!("{uid}/{container}/{image}"), digest, end))
        }
        CheckpointTarget::Revision { workload, revision, container } => {
            let key = format!("{}/{revision}/{container}", workload.uid);
            Some(named(&workload.name, container, &key, digest, end))
        }
        CheckpointTarget::Manual { .. } => None,
    }
}

/// All names of the Checkpoint for this target, in the order in which they are tried.
pub fn names(target: &CheckpointTarget) -> impl Iterator<Item = String> {
    let digests = DIGESTS.into_iter().filter_map(|digest| derived(target, digest));
    digests.chain(NUMBERS.filter_map(|number| numbered(target, number)))
}

/// The name to try after that one, which another target has.
pub fn next(target: &CheckpointTarget, name: &str) -> Option<String> {
    names(target).skip_while(|tried| tried != name).nth(1)
}

fn numbered(target: &CheckpointTarget, number: u16) -> Option<String> {
    with_end(target, LONGEST_DIGEST, &format!("-{number}"))
}

/// Whether this is the name of the Checkpoint that SnapWatcher creates for that target.
pub fn is_derived(name: &str, target: &CheckpointTarget) -> bool {
    let number = name.rsplit_once('-').and_then(|(_, end)| end.parse().ok()).filter(|number| NUMBERS.contains(number));
    is_among_first(name, target) || number.is_some_and(|number| numbered(target, number).as_deref() == Some(name))
}

/// Whether this is one of the first names for that target, which have no number behind the digest.
pub fn is_among_first(name: &str, target: &CheckpointTarget) -> bool {
    DIGESTS.iter().any(|&digest| derived(target, digest).as_deref() == Some(name))
}

/// A valid label value: the value itself, or its beginning and a digest of the whole. The API server does not validate the names
/// in owner references, so they may be none.
pub fn label_value(value: &str) -> String {
    let is_inner = |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.');
    let is_edge = |edge: Option<char>| edge.is_none_or(|edge| edge.is_ascii_alphanumeric());
    let is_valid = value.chars().all(is_inner) && is_edge(value.chars().next()) && is_edge(value.chars().next_back());
    if is_valid {
        return shortened(value, LONGEST_LABEL);
    }
    let valid: String = value.chars().map(|character| if is_inner(character) { character } else { '-' }).collect();
    let valid = cut(valid.trim_start_matches(['-', '_', '.']), LONGEST_LABEL - DIGEST - 1);
    let separator = if valid.is_empty() { "" } else { "-" };
    format!("{valid}{separator}{}", hexadecimal(value, DIGEST))
}

/// The value itself, or its beginning and a digest of the whole, in at most `longest` bytes. Different values stay different.
pub fn shortened(value: &str, longest: usize) -> String {
    if value.len() <= longest {
        return value.to_owned();
    }
    format!("{}-{}", cut(value, longest.saturating_sub(DIGEST + 1)), hexadecimal(value, DIGEST))
}

/// Visible ASCII characters: the value itself, else one with a digest of the whole and a `-` for each other character, in at most
/// `longest` bytes. Different values stay different.
pub fn visible(value: &str, longest: usize) -> String {
    if value.bytes().all(|byte| byte.is_ascii_graphic()) {
        return shortened(value, longest);
    }
    let shown = |character: char| if character.is_ascii_graphic() { character } else { '-' };
    let visible: String = value.chars().map(shown).take(longest.saturating_sub(DIGEST + 1)).collect();
    format!("{visible}-{}", hexadecimal(value, DIGEST))
}

/// A name with a readable part, the first digits of the digest of `key`, and an end. Names of Snapshots are made in the same way.
pub(crate) fn named(subject: &str, container: &str, key: &str, digest: usize, end: &str) -> String {
    let readable =
        |text: &str| cut(text, LONGEST_NAME - digest - 1 - end.len()).trim_end_matches(['-', '.']).to_owned();
    let text = format!("{subject}-{container}");
    let plain = readable(&text);
    let readable = if is_object_name(&plain) { plain } else { readable(&object_name(&text)) };
    format!("{readable}-{}{end}", hexadecimal(key, digest))
}

/// A name like that text. Names in owner references may be any text.
fn object_name(text: &str) -> String {
    let valid = |character: char| if character.is_ascii_alphanumeric() { character.to_ascii_lowercase() } else { '-' };
    text.chars().map(valid).collect::<String>().trim_matches('-').to_owned()
}

/// Cuts at a character boundary, so that it never panics, although names are ASCII.
fn cut(text: &str, length: usize) -> &str {
    let end = (0..=length.min(text.len())).rev().find(|&at| text.is_char_boundary(at));
    &text[..end.unwrap_or(0)]
}

fn hexadecimal(text: &str, length: usize) -> String {
    let mut digits = Sha256::digest(text).iter().fold(String::new(), |mut digits, byte| {
        let _ = write!(digits, "{byte:02x}"); // writing to a String can't fail
        digits
    });
    digits.truncate(length);
    digits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::WorkloadReference;

    fn of_pod(name: &str, container: &str) -> CheckpointTarget {
        CheckpointTarget::Pod {
            name: name.into(),
            uid: "7d0b2d0c-8b3a-4a9e-9c5f-2f1c6b8f5a11".into(),
            container: container.into(),
            image: "registry.example.com/web:1.18".into(),
        }
    }

    #[test]
    fn the_scheme_of_names_is_frozen() {
        let revision = CheckpointTarget::Revision {
            workload: WorkloadReference {
                api_version: "apps/v1".into(),
                kind: "Deployment".into(),
                name: "web".into(),
                uid: "0f5c1c52-0a63-4a0e-8a51-6f3f0f6b1c22".into(),
            },
            revision: "7d4b8c8f9".into(),
            container: "app".into(),
        };
        assert_eq!(derived(&of_pod("web-7d4b8c8f9-xyz12", "app"), 10).unwrap(), "web-7d4b8c8f9-xyz12-app-3b177c7d1b");
        assert_eq!(derived(&revision, 10).unwrap(), "web-app-d4b398ce80");
        assert_eq!(derived(&revision, 20).unwrap(), "web-app-d4b398ce805bacb30634");
        let longest = derived(&revision, 40).unwrap();
        assert_eq!(names(&revision).nth(3), Some(format!("{longest}-2")));
    }

    #[test]
    fn a_name_fits_and_stays_valid_wherever_it_is_cut() {
        for length in 200..=253 {
            for filler in ["a", "a.", "a-"] {
                let mut pod = filler.repeat(length)[..length].to_owned();
                pod.truncate(length - 1);
                pod.push('z');
                for digest in DIGESTS {
                    let name = derived(&of_pod(&pod, &"c".repeat(63)), digest).unwrap();
                    assert!(name.len() <= LONGEST_NAME, "{name}");
                    let readable = &name[..name.len() - digest - 1];
                    assert!(readable.ends_with(|end: char| end.is_ascii_alphanumeric()), "{name}");
                }
                for name in names(&of_pod(&pod, &"c".repeat(63))) {
                    assert!(is_object_name(&name), "{name}");
                }
            }
        }
    }

    #[test]
    fn another_pod_or_container_has_another_name() {
        let names: std::collections::HashSet<_> = [("a", "b-c"), ("a-b", "c"), ("a", "b")]
            .map(|(pod, container)| derived(&of_pod(pod, container), 10))
            .into();
        assert_eq!(names.len(), 3);
    }

    #[test]
    fn another_image_has_another_name() {
        let names: std::collections::HashSet<_> = ["web:1", "web:2", ""]
            .map(|image| {
                let (name, uid, container) = ("web".to_owned(), "u".to_owned(), "app".to_owned());
                derived(&CheckpointTarget::Pod { name, uid, container, image: image.to_owned() }, 10)
            })
            .into();
        assert_eq!(names.len(), 3);
    }

    #[test]
    fn a_name_of_any_digest_length_is_recognized() {
        let target = of_pod("web", "app");
        for digest in DIGESTS {
            assert!(is_derived(&derived(&target, digest).unwrap(), &target));
        }
        assert!(!is_derived("my-checkpoint", &target));
    }

    #[test]
    fn a_target_has_a_hundred_names_and_each_is_recognized() {
        let target = of_pod("web", "app");
        let names: Vec<String> = names(&target).collect();
        assert_eq!((names.len(), names.iter().collect::<std::collections::HashSet<_>>().len()), (102, 102));
        assert!(names.iter().all(|name| is_derived(name, &target)));
        for (name, following) in names.iter().zip(&names[1..]) {
            assert_eq!(next(&target, name).as_ref(), Some(following));
        }
        assert_eq!((next(&target, &names[101]), next(&target, "web")), (None, None));
        let longest = &names[2];
        for number in ["0", "1", "02", "101", "+2", ""] {
            assert!(!is_derived(&format!("{longest}-{number}"), &target), "{number}");
        }
    }

    #[test]
    fn a_shortened_value_is_cut_at_a_character() {
        let value = shortened(&"é".repeat(300), 512);
        assert!(value.len() <= 512 && value.len() > 500, "{}", value.len());
        assert_ne!(shortened(&"é".repeat(301), 512), value);
    }

    #[test]
    fn a_label_value_fits() {
        assert_eq!(label_value("web"), "web");
        let long = "n".repeat(64);
        let value = label_value(&long);
        assert_eq!(value.len(), 63);
        assert!(value.starts_with(&"n".repeat(52)) && value.as_bytes()[52] == b'-');
        assert_ne!(label_value(&"n".repeat(65)), value);
    }

    #[test]
    fn the_name_of_any_owner_leads_to_a_valid_name_and_label() {
        let owner = |name: &str| {
            let workload = WorkloadReference { name: name.to_owned(), ..WorkloadReference::default() };
            let (revision, container) = ("r".to_owned(), "app".to_owned());
            derived(&CheckpointTarget::Revision { workload, revision, container }, 10).unwrap()
        };
        for name in
            ["a b", "../../pods/x", "web?x=1", "Web_App", "", "-", "é", "a..b", &"_".repeat(300), &"A".repeat(253)]
        {
            assert!(is_object_name(&owner(name)), "{name}: {}", owner(name));
            let label = label_value(name);
            let edge = |edge: Option<&u8>| edge.is_none_or(u8::is_ascii_alphanumeric);
            let is_valid = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
            assert!(label.len() <= 63 && is_valid && edge(label.as_bytes().first()) && edge(label.as_bytes().last()));
        }
        assert_ne!(label_value("a b"), label_value("a?b"));
        assert_eq!(label_value("Web_App"), "Web_App");
    }
}
