//! Uploads over connections that break, and to registries that end and start again.

use lab::registry::{CutConnection, RegistryKind, RegistryOptions};
use snapwatcher_registry::{Digest, ErrorKind, RegistryError, Repository};

use super::{CHUNK, Running, content, upload};

const LENGTH: usize = 6 * CHUNK + 99;

async fn running(kind: RegistryKind) -> Running {
    Running::start(kind, RegistryOptions::default()).await
}

/// An upload, the connection of which breaks in the middle of the third chunk.
async fn cut(connection: &CutConnection, repository: &Repository, content: &[u8]) -> Result<Digest, RegistryError> {
    let mut upload = repository.begin_upload().await.unwrap();
    upload.write(&content[..2 * CHUNK]).await.unwrap();
    connection.cut_after(i64::try_from(CHUNK / 2).unwrap());
    upload.write(&content[2 * CHUNK..]).await?;
    assert!(connection.has_cut());
    let digest = Digest::of(content);
    upload.finish(&digest).await?;
    Ok(digest)
}

#[tokio::test]
async fn a_chunk_that_is_cut_off_is_continued_or_the_upload_is_lost_and_begun_again() {
    for kind in RegistryKind::ALL {
        let running = running(kind).await;
        let connection = CutConnection::to(running.program.address()).await.unwrap();
        let repository = running.repository_at(connection.address());
        let content = content(7, LENGTH);
        let result = cut(&connection, &repository, &content).await;
        match kind {
            RegistryKind::Docker3 => assert_eq!(result.unwrap(), Digest::of(&content)),
            RegistryKind::Docker2 | RegistryKind::InMemory => {
                let error = result.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::UploadLost, "{kind:?}: {error}");
                upload(&repository, &content).await.unwrap();
            }
        }
        let found = repository.blob_bytes(&Digest::of(&content)).await.unwrap();
        assert_eq!(found, Some(LENGTH as u64), "{kind:?}");
    }
}

#[tokio::test]
async fn an_upload_survives_a_restart_of_the_registry_between_two_chunks() {
    for kind in RegistryKind::DOCKER {
        let mut running = running(kind).await;
        let repository = running.repository();
        let content = content(8, LENGTH);
        let mut upload = repository.begin_upload().await.unwrap();
        upload.write(&content[..3 * CHUNK]).await.unwrap();
        running.program.kill().await.unwrap();
        running.program.restart().await.unwrap();
        upload.write(&content[3 * CHUNK..]).await.unwrap();
        let digest = Digest::of(&content);
        assert_eq!(upload.finish(&digest).await.unwrap(), LENGTH as u64, "{kind:?}");
        assert_eq!(repository.blob_bytes(&digest).await.unwrap(), Some(LENGTH as u64), "{kind:?}");
    }
}

#[tokio::test]
async fn a_cancelled_upload_does_not_remain() {
    for kind in RegistryKind::DOCKER {
        let running = running(kind).await;
        let mut upload = running.repository().begin_upload().await.unwrap();
        upload.write(&content(9, 2 * CHUNK)).await.unwrap();
        assert_eq!(files_of(&running), 1, "{kind:?}");
        upload.cancel().await.unwrap();
        assert_eq!(files_of(&running), 0, "{kind:?}");
    }
}

/// The number of files with the bytes of an upload.
fn files_of(running: &Running) -> usize {
    let mut folders = vec![running.program.data()];
    let mut found = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let metadata = entry.metadata().unwrap();
            if metadata.is_dir() {
                folders.push(entry.path());
            } else if metadata.len() == 2 * CHUNK as u64 {
                found += 1;
            }
        }
    }
    found
}
