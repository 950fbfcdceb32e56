//! Makes and revokes the secret addresses of calendar feeds.

use crate::admin::context::AdminContext;
use crate::admin::error::AdminError;
use crate::admin::responses::FeedRow;
use crate::admin::text::join_or_none;
use crate::clock::{Entropy, SystemEntropy};
use crate::domain::calendar_feed::{Feed, FeedSecret, FeedTarget};
use crate::domain::ids::CalendarName;
use crate::domain::time::Timestamp;
use crate::store::{CreateFeed, RevokeFeed};

/// Makes a new address. The previous address becomes invalid.
pub(super) fn create_feed(
    context: &AdminContext,
    target: FeedTarget,
) -> Result<FeedRow, AdminError> {
    check_target(context, &target)?;
    let mut random = [0; 20];
    SystemEntropy.fill(&mut random);
    let secret = FeedSecret::new(random);
    let feed = context.store.execute_blocking(CreateFeed {
        feed: Feed {
            target,
            secret_hash: secret.hash(),
            created_at: Timestamp::ZERO,
        },
    })?;
    Ok(FeedRow::created(&feed, &secret))
}

/// Revokes the address.
pub(super) fn revoke_feed(
    context: &AdminContext,
    target: FeedTarget,
) -> Result<FeedRow, AdminError> {
    let row = FeedRow::revoked(&target);
    let name = target.name().to_owned();
    if context.store.execute_blocking(RevokeFeed { target })? {
        Ok(row)
    } else {
        Err(AdminError::not_found(format!(
            "{name} has no feed: nothing was revoked"
        )))
    }
}

fn check_target(context: &AdminContext, target: &FeedTarget) -> Result<(), AdminError> {
    match target {
        FeedTarget::Calendar(name) => {
            let catalog = context.catalog();
            if catalog.calendars.contains_key(name) {
                return Ok(());
            }
            let known: Vec<&str> = catalog.calendars.keys().map(CalendarName::as_str).collect();
            Err(AdminError::not_found(format!(
                "there is no calendar {name}: the config has {}",
                join_or_none(&known)
            )))
        }
        FeedTarget::Agent(name) => context.require_agent(name),
    }
}
