//! The manifest: pushed, read back and verified.

use lab::registry::{FakeRegistry, Fault, Step};
use snapwatcher_registry::{
    CheckpointFacts, CheckpointImage, Deletion, Digest, ENCRYPTED_LAYER, ErrorKind, Layer, LayerForm, Reference,
    Repository, Tag,
};

use super::{CHUNK, REPOSITORY, content, failure, repository, upload};

fn tag() -> Tag {
    "snapshot-1".parse().unwrap()
}

async fn image(repository: &Repository) -> CheckpointImage {
    let content = content(2 * CHUNK);
    let digest = upload(repository, &content).await.unwrap();
    let layer = Layer { digest, bytes: content.len() as u64, form: LayerForm::Encrypted };
    let facts = CheckpointFacts { container: "app".to_owned(), ..CheckpointFacts::default() };
    CheckpointImage::new(&layer, &facts).unwrap()
}

#[tokio::test]
async fn a_checkpoint_is_pushed_and_found_by_tag_and_digest() {
    let registry = FakeRegistry::start().await.unwrap();
    let repository = repository(&registry);
    let image = image(&repository).await;
    repository.push(&tag(), &image).await.unwrap();
    for reference in [Reference::Tag(tag()), Reference::Digest(image.digest().clone())] {
        let manifest = repository.manifest(&reference).await.unwrap();
        assert_eq!(&manifest.digest, image.digest());
        assert_eq!(manifest.layers[0].media_type, ENCRYPTED_LAYER);
        assert_eq!(manifest.layers[0].digest, Digest::of(&content(2 * CHUNK)));
        assert_eq!(manifest.annotations["snap.weaversoft.io/container"], "app");
    }
    // Again, as after a restart: nothing is uploaded twice.
    let begun = registry.requests_of(Step::BeginUpload).len();
    repository.push(&tag(), &image).await.unwrap();
    assert_eq!(registry.requests_of(Step::BeginUpload).len(), begun);
}

#[tokio::test]
async fn pushing_a_manifest_is_repeated() {
    for fault in [Fault::LoseAnswer, Fault::Reset, Fault::status(500, ""), Fault::busy(429, "0"), Fault::Hang] {
        let registry = FakeRegistry::start().await.unwrap();
        let repository = repository(&registry);
        let image = image(&repository).await;
        registry.fail(Step::PutManifest, fault.clone());
        repository.push(&tag(), &image).await.unwrap();
        assert_eq!(registry.requests_of(Step::PutManifest).len(), 2, "{fault:?}");
    }
}

#[tokio::test]
async fn a_registry_that_has_something_else_is_noticed() {
    for (step, fault, expected) in [
        (Step::GetManifest, Fault::OtherBytes, "has the digest"),
        (Step::HeadBlob, Fault::status(404, ""), "is missing"),
        (Step::HeadBlob, Fault::Headers(vec![("content-length", "1".to_owned())]), "has 1 bytes"),
    ] {
        let registry = FakeRegistry::start().await.unwrap();
        let repository = repository(&registry);
        let image = image(&repository).await;
        repository.push(&tag(), &image).await.unwrap();
        registry.fail(step, fault.clone());
        let (kind, text) = failure(repository.verify(&image).await);
        assert_eq!(kind, ErrorKind::WrongContent, "{fault:?}: {text}");
        assert!(text.contains(expected), "{fault:?}: {text}");
    }
}

#[tokio::test]
async fn a_missing_blob_means_that_it_has_to_be_uploaded_again() {
    let registry = FakeRegistry::start().await.unwrap();
    let repository = repository(&registry);
    let image = image(&repository).await;
    registry.fail(Step::PutManifest, Fault::status(400, "MANIFEST_BLOB_UNKNOWN"));
    let (kind, text) = failure(repository.push(&tag(), &image).await);
    assert_eq!(kind, ErrorKind::UploadLost, "{text}");
}

#[tokio::test]
async fn a_manifest_with_other_bytes_than_its_digest_is_not_returned() {
    let registry = FakeRegistry::start().await.unwrap();
    let repository = repository(&registry);
    let image = image(&repository).await;
    repository.push(&tag(), &image).await.unwrap();
    registry.fail(Step::GetManifest, Fault::OtherBytes);
    let (kind, _) = failure(repository.manifest(&image.digest().clone().into()).await);
    assert_eq!(kind, ErrorKind::WrongContent);
    let other = Digest::of(b"other").to_string();
    registry.fail(Step::GetManifest, Fault::Headers(vec![("docker-content-digest", other)]));
    let (kind, _) = failure(repository.manifest(&tag().into()).await);
    assert_eq!(kind, ErrorKind::WrongContent);
}

#[tokio::test]
async fn what_does_not_exist_is_not_found() {
    let registry = FakeRegistry::start().await.unwrap();
    let repository = repository(&registry);
    assert_eq!(failure(repository.manifest(&tag().into()).await).0, ErrorKind::NotFound);
    assert_eq!(failure(repository.blob(&Digest::of(b"x"), 1).next().await).0, ErrorKind::NotFound);
    assert_eq!(repository.blob_bytes(&Digest::of(b"x")).await.unwrap(), None);
}

#[tokio::test]
async fn a_deletion_says_what_the_registry_did() {
    let registry = FakeRegistry::start().await.unwrap();
    let repository = repository(&registry);
    let digest: Digest = registry.add_manifest(REPOSITORY, "a", b"{}").parse().unwrap();
    registry.refuse_deletions();
    assert_eq!(repository.delete_manifest(&digest).await.unwrap(), Deletion::NotAllowed);
    let registry = FakeRegistry::start().await.unwrap();
    let repository = super::repository(&registry);
    let digest: Digest = registry.add_manifest(REPOSITORY, "a", b"{}").parse().unwrap();
    registry.fail(Step::DeleteManifest, Fault::status(400, "UNSUPPORTED"));
    assert_eq!(repository.delete_manifest(&digest).await.unwrap(), Deletion::NotAllowed);
    assert_eq!(repository.delete_manifest(&digest).await.unwrap(), Deletion::Deleted);
    assert_eq!(repository.delete_manifest(&digest).await.unwrap(), Deletion::NotFound);
    // The answer to the first attempt is lost: the second one finds nothing.
    let digest: Digest = registry.add_manifest(REPOSITORY, "b", b"{ }").parse().unwrap();
    registry.fail(Step::DeleteManifest, Fault::LoseAnswer);
    assert_eq!(repository.delete_manifest(&digest).await.unwrap(), Deletion::NotFound);
}

#[tokio::test]
async fn tags_are_listed_page_by_page() {
    let registry = FakeRegistry::start().await.unwrap();
    for number in 0..2500 {
        registry.add_manifest(REPOSITORY, &format!("tag-{number:04}"), b"{}");
    }
    let repository = repository(&registry);
    let (mut tags, mut pages, mut listed) = (repository.tags(), 0, Vec::new());
    while let Some(page) = tags.next_page().await.unwrap() {
        pages += 1;
        listed.extend(page);
    }
    assert_eq!((pages, listed.len()), (3, 2500));
    assert_eq!((listed[0].as_str(), listed[2499].as_str()), ("tag-0000", "tag-2499"));
}

#[tokio::test]
async fn a_repository_that_does_not_exist_has_no_tags() {
    let registry = FakeRegistry::start().await.unwrap();
    registry.fail(Step::ListTags, Fault::status(404, "NAME_UNKNOWN"));
    let body = r#"{"name":"x","tags":null}"#.to_owned();
    registry.fail(Step::ListTags, Fault::Answer { status: 200, headers: Vec::new(), body });
    let repository = repository(&registry);
    for _ in 0..2 {
        let mut tags = repository.tags();
        assert_eq!(tags.next_page().await.unwrap(), Some(Vec::new()));
        assert_eq!(tags.next_page().await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_listing_that_continues_elsewhere_or_for_ever_is_an_error() {
    let registry = FakeRegistry::start().await.unwrap();
    let link = "<http://127.0.0.1:1/v2/x/tags/list>; rel=\"next\"".to_owned();
    registry.fail(Step::ListTags, Fault::Headers(vec![("link", link)]));
    let (kind, text) = failure(repository(&registry).tags().next_page().await);
    assert_eq!(kind, ErrorKind::Refused, "{text}");
    assert!(text.contains("on another server"), "{text}");
    let same = format!("</v2/{REPOSITORY}/tags/list?n=1>; rel=\"next\"");
    for _ in 0..1000 {
        registry.fail(Step::ListTags, Fault::Headers(vec![("link", same.clone())]));
    }
    let repository = repository(&registry);
    let mut tags = repository.tags();
    let error = loop {
        match tags.next_page().await {
            Ok(page) => assert!(page.is_some()),
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains("more than 1000 pages"), "{error}");
}
