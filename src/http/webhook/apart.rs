//! A webhook body whose change met a row that can't be read: its pieces are taken by themselves.
//!
//! Only what needs the row is affected. A message becomes a dead letter with the reason, a status or an event is skipped, and
//! so is a message whose letter can't be stored either.
//! Without this, one damaged row would keep all forms of its body out, each time Meta sends it again.

use tokio::time::Instant;

use crate::domain::arrival::{Arrival, Unreadable};
use crate::domain::customer_change::CustomerChange;
use crate::domain::health_event::HealthEvent;
use crate::domain::ids::FlowName;
use crate::domain::receipt::StatusUpdate;
use crate::intake::cloud_api;
use crate::store::{Accept, Accepted, Receive, Received, StoreError};

use super::super::flows;
use super::super::respond::Refusal;
use super::super::service::App;
use super::super::trace::Trace;

/// One piece of a body.
enum Piece {
    /// A message, and the letter that it becomes if it can't be taken.
    Message(Arrival, Box<Unreadable>),
    Event(HealthEvent),
    Status(StatusUpdate),
    Change(CustomerChange),
}

/// Takes the pieces of `body`, halved until each part is in the store or is one piece that can't be.
pub(super) async fn take(
    app: &App,
    body: &[u8],
    deadline: Instant,
    trace: &mut Trace<'_>,
) -> Result<Received, Refusal> {
    let delivery = cloud_api::read(&app.catalog, body)?;
    let letters = cloud_api::letters(&app.catalog, body)?;
    let messages = delivery.arrivals.into_iter().zip(letters);
    let messages = messages.map(|(arrival, letter)| Piece::Message(arrival, Box::new(letter)));
    let statuses = delivery.statuses.into_iter().map(Piece::Status);
    let events = delivery.health_events.into_iter().map(Piece::Event);
    let changes = delivery.changes.into_iter().map(Piece::Change);
    let pieces: Vec<Piece> = events.chain(statuses).chain(messages).chain(changes).collect();
    let flows: Vec<FlowName> = app.catalog.flows.keys().cloned().collect();
    let mut received = Received { accepted: Vec::new(), events: Vec::new() };
    let mut parts: Vec<&[Piece]> = vec![&pieces];
    while let Some(part) = parts.pop() {
        match (flows::ask(app, receive(part, &flows), deadline, trace).await?, part) {
            (Ok(more), _) => {
                received.accepted.extend(more.accepted);
                received.events.extend(more.events);
            }
            (Err(error), [Piece::Message(_, letter)]) if error.is_of_one_change() => {
                let letter = Unreadable { reason: error.to_string(), ..Unreadable::clone(letter) };
                match keep(app, letter, deadline, trace).await? {
                    Some(kept) => {
                        tracing::error!(%error, "a message needs a row that can't be read, and is kept as a dead letter");
                        received.accepted.extend(kept);
                    }
                    None => skip(&error),
                }
            }
            (Err(error), [_]) if error.is_of_one_change() => skip(&error),
            (Err(error), _) if error.is_of_one_change() => {
                let (first, rest) = part.split_at(part.len() / 2);
                parts.extend([rest, first]);
            }
            (Err(_), _) => return Err(Refusal::NotStored),
        }
    }
    Ok(received)
}

/// Stores the dead letter of a message. If its own key can't be looked up, the letter is stored without one: a copy of the
/// message may then get a second letter. Returns `None` if a damaged row keeps that letter out, too.
async fn keep(
    app: &App,
    letter: Unreadable,
    deadline: Instant,
    trace: &mut Trace<'_>,
) -> Result<Option<Vec<Accepted>>, Refusal> {
    let without_keys = Unreadable { message_key: None, elsewhere: Vec::new(), join: None, ..letter.clone() };
    for letter in [letter, without_keys] {
        let arrivals = vec![Arrival::Unreadable(Box::new(letter))];
        match flows::ask(app, Accept { arrivals }, deadline, trace).await? {
            Ok(kept) => return Ok(Some(kept)),
            Err(error) if error.is_of_one_change() => {}
            Err(_) => return Err(Refusal::NotStored),
        }
    }
    Ok(None)
}

fn receive(part: &[Piece], flows: &[FlowName]) -> Receive {
    let mut receive = Receive { flows: flows.to_vec(), ..Receive::default() };
    for piece in part {
        match piece {
            Piece::Message(arrival, _) => receive.accept.arrivals.push(arrival.clone()),
            Piece::Event(event) => receive.events.push(event.clone()),
            Piece::Status(status) => receive.statuses.push(status.clone()),
            Piece::Change(change) => receive.changes.push(change.clone()),
        }
    }
    receive
}

fn skip(error: &StoreError) {
    metrics::counter!("flowgate_webhook_updates_total", "kind" => "skipped").increment(1);
    tracing::error!(%error, "a message, a status, an event or a customer's new number needs a row that can't be read, and is skipped");
}
