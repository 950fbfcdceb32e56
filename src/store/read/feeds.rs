//! Reads calendar feeds, and the submissions of their bookings.

use subtle::ConstantTimeEq;

use crate::domain::calendar_feed::{Feed, FeedSecret};
use crate::domain::ids::{AgentId, SubmissionId};

use super::Snapshot;
use crate::store::StoreResult;
use crate::store::engine::Rows;
use crate::store::rows::schema::FEEDS;
use crate::store::rows::secrets::secret_key;

impl Snapshot {
    /// Returns the feed with this secret. The key of the row is a hash, and the whole hash is
    /// compared in constant time, so the duration tells nothing about the secret.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn feed(&self, secret: &FeedSecret) -> StoreResult<Option<Feed>> {
        let hash = secret.hash();
        let feed: Option<Feed> = self.get_row(FEEDS, &secret_key(&hash))?;
        Ok(feed.filter(|feed| bool::from(feed.secret_hash.ct_eq(&hash))))
    }

    /// Lists all feeds.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn feeds(&self) -> StoreResult<Vec<Feed>> {
        self.with_read_txn(|txn| {
            let table = txn.open(FEEDS)?;
            table.all_rows()?.map(|row| row?.value()).collect()
        })
    }

    /// Returns the agent who has the lead of a submission. Returns `None` if nobody has it.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn agent_of_submission(&self, id: SubmissionId) -> StoreResult<Option<AgentId>> {
        let Some(submission) = self.submission(id)? else {
            return Ok(None);
        };
        let job = self.job(submission.job_id)?;
        let Some(lead) = job.and_then(|job| job.lead_id) else {
            return Ok(None);
        };
        Ok(self.lead(lead)?.and_then(|lead| lead.agent))
    }
}
