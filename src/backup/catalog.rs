//! Lists what a continuous backup has: generations, complete bases, and segments of the log.

use super::error::BackupError;
use super::format::{FORMAT, Manifest};
use super::remote::RemoteStore;
use crate::domain::backup::objects::{BaseName, GENERATIONS, Generation, MANIFEST, SegmentName};

/// Number of commits before a commit in whose segments the commit may be. A segment never has more.
const SEGMENT_COMMITS_MAX: u64 = 250_000;
/// Number of commits that almost no segment exceeds. Their names fit into one page of a list.
const SEGMENT_COMMITS_USUAL: u64 = 1000;

/// Part of the log in which to look for the segment of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Search {
    /// All segments that may have the commit.
    All,
    /// Segments that usually have the commit.
    Recent,
}

/// Lists the generations, oldest first. Other names are ignored.
pub(super) async fn list_generations(remote: &RemoteStore) -> Result<Vec<Generation>, BackupError> {
    let names = remote.list_folders(GENERATIONS).await?;
    let generations = names.iter().filter_map(|name| Generation::parse(name));
    let mut generations: Vec<Generation> = generations.collect();
    generations.sort_unstable();
    Ok(generations)
}

/// Lists the complete bases of a generation, oldest first.
pub(super) async fn list_bases(
    remote: &RemoteStore,
    generation: &Generation,
) -> Result<Vec<BaseName>, BackupError> {
    let names = remote.list(&generation.bases_folder(), None).await?;
    let complete = names.iter().filter_map(|name| {
        let (base, object) = name.split_once('/')?;
        (object == MANIFEST)
            .then(|| BaseName::parse(base))
            .flatten()
    });
    Ok(complete.collect())
}

/// Reads the object that completes a base.
pub(super) async fn read_manifest(
    remote: &RemoteStore,
    generation: &Generation,
    base: BaseName,
) -> Result<Manifest, BackupError> {
    let path = format!("{}/{MANIFEST}", generation.base_folder(base));
    let bytes = remote.get(&path).await?;
    let manifest: Manifest =
        serde_json::from_slice(&bytes).map_err(|_| BackupError::DamagedObject(path))?;
    if manifest.format != FORMAT {
        return Err(BackupError::UnknownFormat(manifest.format));
    }
    Ok(manifest)
}

/// Lists the segments that may have commits after number `after`, in order.
pub(super) async fn list_segments(
    remote: &RemoteStore,
    generation: &Generation,
    after: u64,
    search: Search,
) -> Result<Vec<SegmentName>, BackupError> {
    let lookback = match search {
        Search::All => SEGMENT_COMMITS_MAX,
        Search::Recent => SEGMENT_COMMITS_USUAL,
    };
    let offset = format!("{:020}", after.saturating_sub(lookback));
    let names = remote.list(&generation.log_folder(), Some(&offset)).await?;
    let segments = names.iter().filter_map(|name| SegmentName::parse(name));
    Ok(segments.collect())
}
