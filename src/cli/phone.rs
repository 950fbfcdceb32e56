//! What a phone does with an encrypted flow: opens it, answers screen after screen, and sees how it ends.
//!
//! Each request goes in an envelope of its own, for the flow's newest key. What is chosen and typed on a screen is
//! `super::sample`'s.

use std::io::{self, Write};

use serde_json::{Map, Value, json};

use super::sample::{self, Wish};
use super::sender::{Answer, SendError, Sender, TOKEN_GONE};
use crate::admin::AdminError;
use crate::clock::{Clock, Entropy, SystemClock, SystemEntropy};
use crate::domain::flow::Flow;
use crate::intake::PublicKey;
use crate::intake::encryption::Request;

/// Of a longer list so many are shown, to be followed on a terminal.
const SHOWN: usize = 3;

/// More than any form takes; whoever asks more often goes in a circle.
const REQUESTS_MAX: usize = 100;

/// Why the walk came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum WalkError {
    /// No answer.
    #[error(transparent)]
    Send(#[from] SendError),
    /// An answer that a phone can't read.
    #[error("the answer can't be opened: status {0}")]
    Closed(u16),
    /// It goes on and on.
    #[error("after {REQUESTS_MAX} requests there is no end of the form")]
    Endless,
    /// The server signed nothing.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The terminal is gone.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// What is filled in.
pub(super) struct Form<'a> {
    pub(super) flow: &'a Flow,
    pub(super) token: &'a str,
    pub(super) given: &'a Map<String, Value>,
    pub(super) wish: Option<&'a Wish>,
}

/// A phone that knows where to send and to whom.
pub(super) struct Phone<'a> {
    pub(super) sender: Sender,
    /// Signs a body as Meta does.
    pub(super) sign: &'a dyn Fn(&str) -> Result<String, AdminError>,
    pub(super) key: &'a PublicKey,
}

impl Phone<'_> {
    /// Walks through the form and gives the last answer. Tells each step to `out`, if there is one.
    pub(super) async fn walk<W: Write>(
        &mut self,
        form: &Form<'_>,
        mut out: Option<&mut W>,
    ) -> Result<Answer, WalkError> {
        let Form { flow, token, given, wish } = form;
        let mut request = json!({"version": "3.0", "action": "INIT", "screen": "", "data": {}, "flow_token": token});
        // Where the phone is, and how many choices there have asked for more to choose from.
        let (mut place, mut choices) = (String::new(), 0);
        for _ in 0..REQUESTS_MAX {
            let clock = SystemClock::new();
            let answer = self.ask(flow, &request).await?;
            if let Some(out) = out.as_mut() {
                writeln!(out, "  phone   {request}")?;
                writeln!(
                    out,
                    "  answer  {} (after {:.1} ms)",
                    brief(&answer.body),
                    clock.elapsed().as_secs_f64() * 1000.0
                )?;
            }
            let screen = answer.body.get("screen").and_then(Value::as_str).unwrap_or_default();
            if answer.status != 200 || answer.is_accepted() || answer.complaint().is_some() {
                return Ok(answer);
            }
            let name = if screen.is_empty() { "FORM" } else { screen };
            if place != name {
                (place, choices) = (name.to_owned(), 0);
            }
            let declared = flow.screen(screen);
            let shown = answer.body.get("data").unwrap_or(&Value::Null);
            let answers = sample::answers(flow, declared, shown, given, *wish);
            let choice = declared.and_then(|screen| sample::choice(screen, &answers, choices));
            choices += usize::from(choice.is_some());
            let data = choice.unwrap_or(answers);
            request = json!({
                "version": "3.0", "action": "data_exchange", "screen": name, "data": data, "flow_token": token,
            });
        }
        Err(WalkError::Endless)
    }

    /// One request in its envelope, one answer out of its own.
    async fn ask(&mut self, flow: &Flow, request: &Value) -> Result<Answer, WalkError> {
        let mut chance = [0; 32];
        SystemEntropy.fill(&mut chance);
        let sealed =
            Request::seal(self.key, chance, &request.to_string()).map_err(|why| io::Error::other(why.to_string()))?;
        let signature = (self.sign)(&sealed.body)?;
        let body = sealed.body.clone().into_bytes();
        let (status, bytes) = self.sender.post_bytes(&flow.path, &signature, body).await?;
        opened(&sealed, status, &bytes)
    }
}

/// The answer to a request, out of its envelope: a success, or that the message's token is no longer good.
fn opened(request: &Request, status: u16, bytes: &[u8]) -> Result<Answer, WalkError> {
    let text = match status {
        200 | TOKEN_GONE => request.open(bytes).map_err(|_| WalkError::Closed(status))?,
        _ if bytes.is_empty() => return Err(WalkError::Closed(status)),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    };
    Ok(Answer { status, body: serde_json::from_str(&text).unwrap_or(Value::Null) })
}

/// The same, with long lists cut short.
fn brief(value: &Value) -> Value {
    match value {
        Value::Array(items) if items.len() > SHOWN => {
            let more = json!(format!("… {} more", items.len() - SHOWN));
            items.iter().take(SHOWN).map(brief).chain([more]).collect()
        }
        Value::Array(items) => items.iter().map(brief).collect(),
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), brief(value))).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::PrivateKey;
    use crate::intake::encryption::Envelope;

    #[test]
    fn what_a_used_token_is_told_is_read_as_a_phone_reads_it() {
        let key = PrivateKey::read(include_str!("../../tests/vectors/key_private.pem"), None).unwrap();
        let request = Request::seal(key.public(), [7; 32], "{}").unwrap();
        let envelope = Envelope::read(request.body.as_bytes()).unwrap().unwrap();
        let seal = envelope.open(&[key]).unwrap().seal;
        let told = seal.close(r#"{"error_msg":"This form was sent already."}"#).unwrap();
        let answer = opened(&request, 427, told.as_bytes()).unwrap();
        assert_eq!((answer.status, answer.complaint()), (427, Some("This form was sent already.")));
        assert!(matches!(opened(&request, 427, b"no envelope"), Err(WalkError::Closed(427))));
        assert!(matches!(opened(&request, 421, b""), Err(WalkError::Closed(421))));
        assert_eq!(opened(&request, 503, b"{}").unwrap(), Answer { status: 503, body: json!({}) });
    }

    #[test]
    fn long_lists_are_cut_short_and_nothing_else() {
        let answer = json!({"screen": "A", "data": {"few": [1, 2, 3], "many": [1, 2, 3, 4, 5], "in": [[1, 2, 3, 4]]}});
        let shown = json!({"screen": "A", "data": {
            "few": [1, 2, 3], "many": [1, 2, 3, "… 2 more"], "in": [[1, 2, 3, "… 1 more"]]}});
        assert_eq!(brief(&answer), shown);
    }
}
