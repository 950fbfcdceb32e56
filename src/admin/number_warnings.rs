//! Creates warnings about phone numbers of the business that have been silent for unusually long.

use super::handler::AdminHandler;
use crate::store::{Snapshot, StoreError};

/// Returns one warning for each number that has been silent for unusually long. Returns no warnings
/// without a running server, because only a server receives messages.
pub(super) fn warnings(
    handler: &AdminHandler,
    snapshot: &Snapshot,
) -> Result<Vec<String>, StoreError> {
    if handler.server.is_none() {
        return Ok(Vec::new());
    }
    let silent = snapshot
        .phone_numbers()?
        .into_iter()
        .filter(|(_, traffic)| traffic.is_silent());
    let warning = |(id, traffic): (
        Box<str>,
        crate::domain::health::number_traffic::NumberTraffic,
    )| {
        let number = traffic.display_number().unwrap_or("(unknown)");
        format!(
            "phone number {number} (phone_number_id {id}) usually receives messages, but has received none since {}: check in Meta's \
             dashboard that the app is subscribed to `messages` and `standby`, and that the number is connected",
            traffic.last_message_at()
        )
    };
    Ok(silent.map(warning).collect())
}
