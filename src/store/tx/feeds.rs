//! Stores and revokes the secret addresses of calendar feeds.
//!
//! See [`crate::domain::calendar_feed`] for the feeds.

use crate::domain::calendar_feed::{Feed, FeedTarget};

use crate::store::StoreResult;
use crate::store::engine::{Hash, Rows};
use crate::store::rows::secrets::secret_key;
use crate::store::writer::write_context::{Transaction, WriteContext};

/// Stores a feed. An earlier address of the same calendar or agent becomes invalid.
#[derive(Debug)]
pub struct CreateFeed {
    /// Feed with the hash of its secret. The transaction sets the time.
    pub feed: Feed,
}

/// Revokes the address of a feed.
#[derive(Debug)]
pub struct RevokeFeed {
    /// Calendar or agent of the feed.
    pub target: FeedTarget,
}

impl Transaction for CreateFeed {
    type Outcome = Feed;

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<Feed> {
        for key in list_keys(ctx, &self.feed.target)? {
            ctx.tables.feeds.remove(&key)?;
        }
        let feed = Feed {
            created_at: ctx.now,
            ..self.feed.clone()
        };
        ctx.tables
            .feeds
            .put(&secret_key(&feed.secret_hash), &feed)?;
        Ok(feed)
    }
}

impl Transaction for RevokeFeed {
    /// `true` if there was an address.
    type Outcome = bool;

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<bool> {
        let keys = list_keys(ctx, &self.target)?;
        for key in &keys {
            ctx.tables.feeds.remove(key)?;
        }
        Ok(!keys.is_empty())
    }
}

fn list_keys(ctx: &WriteContext<'_>, target: &FeedTarget) -> StoreResult<Vec<Hash>> {
    let mut keys = Vec::new();
    for row in ctx.tables.feeds.all_rows()? {
        let row = row?;
        if row.value()?.target == *target {
            keys.push(*row.key());
        }
    }
    Ok(keys)
}
