//! Whether an archive is that of the expected pod, container and image.
//!
//! The places that name them, read at the versions that [`crate::read`] is made for:
//! - `config.dump`: the container's name in the runtime, `CONTAINER_POD_NAMESPACE_UID_ATTEMPT` (containerd, `makeContainerName`), in
//!   CRI-O `k8s_` and the same (`SetNameAndID`). No name of Kubernetes has an underscore.
//! - `spec.dump`, annotations of containerd (`internal/cri/annotations`): `io.kubernetes.cri.sandbox-namespace` and so on.
//! - `spec.dump`, annotations of CRI-O (`SpecAddAnnotations`): the kubelet's labels, `io.kubernetes.pod.namespace` and so on.
//!
//! Both documents have to name each of the four, and each place that names one has to name the expected one. A pod's own
//! annotations are in `spec.dump` too, if the runtime is configured so. With these rules they can at most spoil an archive.

use std::fmt;

use crate::documents::{ConfigDump, SpecDump};
use crate::foreign::Foreign;

/// Whose checkpoint it has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected<'a> {
    pub namespace: &'a str,
    pub pod: &'a str,
    pub pod_uid: &'a str,
    pub container: &'a str,
    /// As in the pod's spec.
    pub image: &'a str,
    /// As in the pod's status, where it is known.
    pub image_id: Option<&'a str>,
}

/// What an archive names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Namespace,
    Pod,
    PodUid,
    Container,
    Image,
    ImageDigest,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Namespace => "namespace",
            Self::Pod => "pod",
            Self::PodUid => "pod UID",
            Self::Container => "container",
            Self::Image => "image",
            Self::ImageDigest => "image digest",
        })
    }
}

/// Why an archive is not the expected one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    #[error("the archive is of another {part}: expected is `{expected}`, and {place} has `{found}`")]
    Different { part: Part, place: &'static str, expected: Foreign, found: Foreign },
    #[error("the archive names no {part}: expected is `{expected}`, and {place} has none")]
    Absent { part: Part, place: &'static str, expected: Foreign },
}

const CONFIG_NAME: &str = "`name` of `config.dump`";
const IMAGES: &str = "the images in `config.dump` and `spec.dump`";
const ANNOTATIONS: &str = "`annotations` of `spec.dump`";

/// containerd's annotation with the image as in the pod's spec. The kubelet passes it since Kubernetes 1.28.
const IMAGE: &str = "io.kubernetes.cri.image-name";
/// CRI-O: the image that the kubelet requested (a digest or an id, if it had pulled the image), a name of it, its id, its digests.
const CRIO_IMAGES: [&str; 4] = [
    "io.kubernetes.cri-o.Image",
    "io.kubernetes.cri-o.ImageName",
    "io.kubernetes.cri-o.ImageRef",
    "io.kubernetes.cri-o.ImageRepoDigests",
];

/// Checks that both documents of an archive are of the expected container.
pub fn check(config: &ConfigDump, spec: &SpecDump, expected: &Expected<'_>) -> Result<(), IdentityError> {
    let names = names_in(&config.name);
    for (part, value, index, annotations) in [
        (
            Part::Namespace,
            expected.namespace,
            2,
            ["io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace"],
        ),
        (Part::Pod, expected.pod, 1, ["io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name"]),
        (Part::PodUid, expected.pod_uid, 3, ["io.kubernetes.cri.sandbox-uid", "io.kubernetes.pod.uid"]),
        (Part::Container, expected.container, 0, ["io.kubernetes.cri.container-name", "io.kubernetes.container.name"]),
    ] {
        let absent = |place| IdentityError::Absent { part, place, expected: Foreign::new(value) };
        let found = names.as_ref().ok_or_else(|| absent(CONFIG_NAME))?[index];
        same(part, CONFIG_NAME, value, found)?;
        let mut is_named = false;
        for place in annotations {
            if let Some(found) = spec.annotations.get(place) {
                same(part, place, value, found)?;
                is_named = true;
            }
        }
        if !is_named {
            return Err(absent(ANNOTATIONS));
        }
    }
    check_image(config, spec, expected)
}

fn same(part: Part, place: &'static str, expected: &str, found: &str) -> Result<(), IdentityError> {
    // Empty names nothing, even if nothing is expected.
    if expected == found && !found.is_empty() {
        return Ok(());
    }
    Err(IdentityError::Different { part, place, expected: Foreign::new(expected), found: Foreign::new(found) })
}

/// Container, pod, namespace and UID in the name that the runtime gives to a container.
fn names_in(name: &str) -> Option<[&str; 4]> {
    let parts: Vec<&str> = name.splitn(8, '_').collect();
    match *parts.as_slice() {
        [container, pod, namespace, uid, _] | ["k8s", container, pod, namespace, uid, _] => {
            Some([container, pod, namespace, uid])
        }
        _ => None,
    }
}

/// A name says which image the pod wanted, the digest which one it got. Where the digest is expected, it decides.
///
/// containerd: `rootfsImageRef` is the `imageID` of the pod's status. CRI-O names the digest in `rootfsImage` and in annotations.
fn check_image(config: &ConfigDump, spec: &SpecDump, expected: &Expected<'_>) -> Result<(), IdentityError> {
    let requested = spec.annotations.get(IMAGE);
    if let Some(found) = requested {
        same(Part::Image, IMAGE, expected.image, found)?;
    }
    let of_config = [&config.rootfs_image_ref, &config.rootfs_image, &config.rootfs_image_name];
    let annotated = CRIO_IMAGES.iter().filter_map(|key| spec.annotations.get(*key));
    let mut named = of_config.into_iter().chain(annotated).flat_map(|images| images.split(','));
    let different = |part, expected| IdentityError::Different {
        part,
        place: IMAGES,
        expected: Foreign::new(expected),
        found: Foreign::new(&config.rootfs_image_ref),
    };
    if let Some(image_id) = expected.image_id
        && let Some(got) = digest(image_id)
    {
        let is_named = named.any(|image| digest(image) == Some(got));
        return if is_named { Ok(()) } else { Err(different(Part::ImageDigest, image_id)) };
    }
    if requested.is_some() || named.any(|image| image == expected.image && !image.is_empty()) {
        Ok(())
    } else {
        Err(different(Part::Image, expected.image))
    }
}

/// The 64 hexadecimal digits at the end of `NAME@sha256:DIGITS`, `sha256:DIGITS` or `DIGITS`.
fn digest(image: &str) -> Option<&str> {
    let digits = image.rsplit_once("sha256:").map_or(image, |(_, digits)| digits);
    let is_digest = digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_digest.then_some(digits)
}

#[cfg(test)]
mod tests;
