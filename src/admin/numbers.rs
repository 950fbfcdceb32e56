//! What an operator should know of our numbers.

use super::desk::Desk;
use crate::store::{Snapshot, StoreError};

/// Numbers that have been silent for unusually long, one text each. Without a server nothing is heard.
pub(super) fn hints(desk: &Desk, read: &Snapshot) -> Result<Vec<String>, StoreError> {
    if desk.live.is_none() {
        return Ok(Vec::new());
    }
    let silent = read.numbers()?.into_iter().filter(|(_, traffic)| traffic.is_silent());
    let hint = |(id, traffic): (Box<str>, crate::domain::traffic::Traffic)| {
        let number = traffic.number().unwrap_or("without a name");
        format!(
            "number {number} (phone_number_id {id}) usually receives messages, and has received none since {}: look in Meta's \
             dashboard whether the app is still subscribed to `messages` and `standby`, and the number connected",
            traffic.last_message_at()
        )
    };
    Ok(silent.map(hint).collect())
}
