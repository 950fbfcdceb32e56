//! Reads a continuous backup: the newest base at or before a time, and the commits after it.

use super::catalog::{Search, list_bases, list_generations, list_segments, read_manifest};
use super::error::BackupError;
use super::format::{Manifest, decode_part, decode_segment};
use super::remote::RemoteStore;
use crate::domain::backup::objects::{BaseName, Generation, SegmentName, chain_segments};
use crate::domain::time::Timestamp;
use crate::store::{CopyEnd, NewFile};

/// Number of parts of a base that are read at the same time. All of them share the time limit of a
/// request, so more would fail on a slow line.
const PARALLEL_PARTS: usize = 3;
/// Number of segments that are read at the same time. Most segments are small.
const PARALLEL_SEGMENTS: usize = 12;

/// Base from which a restore begins.
#[derive(Clone, Debug)]
pub(super) struct FoundBase {
    pub(super) generation: Generation,
    pub(super) name: BaseName,
    pub(super) manifest: Manifest,
    /// Start of a later generation that has no complete base yet.
    pub(super) later_began_at: Option<Timestamp>,
}

/// Position in a log: the last commit that was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LogPosition {
    pub(super) applied: u64,
    pub(super) committed_at: Timestamp,
}

/// Finds the newest complete base of the newest generation whose data is not newer than `until`.
/// The result names a later generation whose commits can't be restored yet.
pub(super) async fn find_base(
    remote: &RemoteStore,
    until: Option<Timestamp>,
) -> Result<FoundBase, BackupError> {
    let mut later_began_at = None;
    for generation in list_generations(remote).await?.into_iter().rev() {
        for name in list_bases(remote, &generation).await?.into_iter().rev() {
            let manifest = read_manifest(remote, &generation, name).await?;
            if until.is_none_or(|until| manifest.end.committed_at <= until) {
                return Ok(FoundBase {
                    generation,
                    name,
                    manifest,
                    later_began_at,
                });
            }
        }
        if until.is_none_or(|until| generation.began_at <= until) {
            later_began_at = Some(generation.began_at);
        }
    }
    Err(BackupError::NoBase {
        label: remote.label().to_owned(),
        until,
    })
}

/// Applies the rows of a base, and the commits up to the one at which the base is consistent.
pub(super) async fn apply_base(
    remote: &RemoteStore,
    base: &FoundBase,
    file: &mut NewFile,
) -> Result<LogPosition, BackupError> {
    let folder = base.generation.base_folder(base.name);
    let parts = (0..base.manifest.parts).map(|part| format!("{folder}/{part:08}"));
    let apply = |name: &str, bytes: bytes::Bytes| {
        file.apply(decode_part(name, &bytes)?)?;
        Ok(true)
    };
    remote
        .get_all(parts.collect(), PARALLEL_PARTS, apply)
        .await?;
    let CopyEnd {
        last_entry,
        committed_at,
        ..
    } = base.manifest.end;
    let start = LogPosition {
        applied: base.name.begins_after,
        committed_at,
    };
    let until = Until::Number(last_entry);
    let reached = apply_log(remote, &base.generation, start, until, Search::All, file).await?;
    if reached.applied < last_entry {
        return Err(BackupError::Gap {
            label: remote.label().to_owned(),
            reached: base.name.began_at,
        });
    }
    Ok(LogPosition {
        committed_at,
        ..reached
    })
}

/// End of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// Last commit.
    Number(u64),
    /// Time of the last commit. `None`: all commits.
    Time(Option<Timestamp>),
}

impl Until {
    fn includes(self, number: u64, at: Timestamp) -> bool {
        match self {
            Self::Number(last) => number <= last,
            Self::Time(last) => last.is_none_or(|last| at <= last),
        }
    }
}

/// Applies the commits after `from`. Returns the last one that was applied.
pub(super) async fn apply_log(
    remote: &RemoteStore,
    generation: &Generation,
    from: LogPosition,
    until: Until,
    search: Search,
    file: &mut NewFile,
) -> Result<LogPosition, BackupError> {
    let folder = generation.log_folder();
    let find_chain = async |search| {
        let segments = list_segments(remote, generation, from.applied, search).await?;
        let chain = chain_segments(segments.clone(), from.applied);
        let end = chain.last().map_or(from.applied, |last| last.last);
        let is_behind = |segment: &SegmentName| {
            segment.first > end && until.includes(segment.first, segment.first_at)
        };
        let has_gap = segments.iter().any(is_behind);
        Ok::<_, BackupError>((chain, end, has_gap))
    };
    let (mut chain, mut end, mut has_gap) = find_chain(search).await?;
    if has_gap && search != Search::All {
        (chain, end, has_gap) = find_chain(Search::All).await?;
    }
    let needed = chain
        .into_iter()
        .filter(|segment| until.includes(segment.first, segment.first_at));
    let paths = needed.map(|segment| format!("{folder}/{segment}"));
    let mut reached = from;
    let apply = |name: &str, bytes: bytes::Bytes| {
        for entry in decode_segment(name, &bytes)? {
            if entry.number <= reached.applied {
                continue;
            }
            if !until.includes(entry.number, entry.committed_at) {
                return Ok(false);
            }
            file.apply(&entry.changes)?;
            reached = LogPosition {
                applied: entry.number,
                committed_at: entry.committed_at,
            };
        }
        Ok(true)
    };
    remote
        .get_all(paths.collect(), PARALLEL_SEGMENTS, apply)
        .await?;
    if has_gap && reached.applied == end {
        return Err(BackupError::Gap {
            label: remote.label().to_owned(),
            reached: reached.committed_at,
        });
    }
    Ok(reached)
}
