//! All operations, with each form of access.

use lab::registry::{RegistryKind, RegistryOptions};
use snapwatcher_registry::{
    CheckpointFacts, CheckpointImage, Deletion, Digest, ErrorKind, Layer, LayerForm, Reference, RegistrySettings,
    Repository, Tag,
};

use super::{CHUNK, Running, content, credentials, read, repository, upload};

const PLAIN: RegistryOptions = RegistryOptions { basic: false, tls: false, keeps_all: false };
const SECURED: RegistryOptions = RegistryOptions { basic: true, tls: true, keeps_all: false };

fn tag() -> Tag {
    "snapshot-1".parse().unwrap()
}

async fn pushed(repository: &Repository, form: LayerForm, content: &[u8]) -> CheckpointImage {
    let digest = upload(repository, content).await.unwrap();
    let layer = Layer { digest, bytes: content.len() as u64, form };
    let facts =
        CheckpointFacts { container: "app".to_owned(), architecture: "amd64".to_owned(), ..CheckpointFacts::default() };
    let image = CheckpointImage::new(&layer, &facts).unwrap();
    repository.push(&tag(), &image).await.unwrap();
    image
}

/// From the first upload to the deletion.
async fn a_life(running: &Running) {
    let (kind, repository) = (running.kind, running.repository());
    repository.check_writable().await.unwrap();
    assert_eq!(repository.tags().next_page().await.unwrap(), Some(Vec::new()), "{kind:?}");
    let forms = [LayerForm::Plain { uncompressed: Digest::of(b"archive") }, LayerForm::Encrypted];
    for (seed, form) in (1..).zip(forms) {
        let content = content(seed, 5 * CHUNK + 1234);
        let image = pushed(&repository, form, &content).await;
        repository.verify(&image).await.unwrap();
        let by_tag = repository.manifest(&Reference::Tag(tag())).await.unwrap();
        assert_eq!(&by_tag.digest, image.digest(), "{kind:?}");
        let layer = &by_tag.layers[0];
        assert_eq!(read(&repository, &layer.digest, layer.bytes).await, content, "{kind:?}");
        assert_eq!(repository.tags().next_page().await.unwrap(), Some(vec![tag()]), "{kind:?}");
        assert_eq!(repository.delete_manifest(image.digest()).await.unwrap(), Deletion::Deleted, "{kind:?}");
        assert_eq!(repository.delete_manifest(image.digest()).await.unwrap(), Deletion::NotFound, "{kind:?}");
        let gone = repository.manifest(&Reference::Digest(image.digest().clone())).await.unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::NotFound, "{kind:?}: {gone}");
    }
    assert_eq!(repository.blob_bytes(&Digest::of(b"never pushed")).await.unwrap(), None, "{kind:?}");
}

#[tokio::test]
async fn a_checkpoint_lives_in_each_registry() {
    for kind in RegistryKind::ALL {
        a_life(&Running::start(kind, PLAIN).await).await;
    }
}

#[tokio::test]
async fn a_checkpoint_lives_in_a_registry_behind_tls_and_a_password() {
    for kind in RegistryKind::DOCKER {
        a_life(&Running::start(kind, SECURED).await).await;
    }
}

#[tokio::test]
async fn a_registry_that_does_not_delete_says_so() {
    for kind in RegistryKind::DOCKER {
        let running = Running::start(kind, RegistryOptions { keeps_all: true, ..PLAIN }).await;
        let repository = running.repository();
        let image = pushed(&repository, LayerForm::Encrypted, &content(1, 1000)).await;
        assert_eq!(repository.delete_manifest(image.digest()).await.unwrap(), Deletion::NotAllowed, "{kind:?}");
        repository.verify(&image).await.unwrap();
    }
}

#[tokio::test]
async fn wrong_credentials_and_unknown_certificates_are_distinguished() {
    for kind in RegistryKind::DOCKER {
        let running = Running::start(kind, SECURED).await;
        credentials(&running.folder, &running.program.credentials_with("wrong-password"));
        let error = running.repository().check_writable().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Credentials, "{kind:?}: {error}");
        assert!(!error.to_string().contains("wrong-password"), "{kind:?}: {error}");
        let anonymous = RegistrySettings { credentials_file: None, ..running.settings.clone() };
        let error = repository(&anonymous).check_writable().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Credentials, "{kind:?}: {error}");
        assert!(error.to_string().contains("requires credentials"), "{kind:?}: {error}");
        let untrusting = RegistrySettings { ca_file: None, ..running.settings.clone() };
        let error = repository(&untrusting).check_writable().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::RetryLater, "{kind:?}: {error}");
        assert!(error.to_string().contains("no trusted CA has signed it"), "{kind:?}: {error}");
    }
}

#[tokio::test]
async fn a_manifest_without_its_blobs_is_refused_or_noticed() {
    for kind in RegistryKind::ALL {
        let running = Running::start(kind, PLAIN).await;
        let layer = Layer { digest: Digest::of(b"never pushed"), bytes: 12, form: LayerForm::Encrypted };
        let image = CheckpointImage::new(&layer, &CheckpointFacts::default()).unwrap();
        let error = running.repository().push(&tag(), &image).await.unwrap_err();
        // Docker's registries refuse it. Others accept it, and what they have is then verified.
        assert!(matches!(error.kind(), ErrorKind::UploadLost | ErrorKind::WrongContent), "{kind:?}: {error}");
    }
}
