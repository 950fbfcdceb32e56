//! Unofficial gateways: how they stand, what became of them, what came of a call.

use serde::Serialize;

use crate::domain::gateway::{Alert, Call, Condition, Entry, GatewayKind, Standing};
use crate::domain::ids::GatewayName;
use crate::domain::time::Timestamp;
use crate::gateways::Done;

/// A gateway.
#[derive(Clone, Debug, Serialize)]
pub(in crate::admin) struct GatewayView {
    name: GatewayName,
    kind: GatewayKind,
    /// What it calls its state.
    state: Box<str>,
    /// What that comes to: `up`, `starting`, `down`, `needs_person`, `strange`, `refused`, `unreachable`; `unasked`.
    condition: Condition,
    since: Timestamp,
    /// What was told of a trouble that is not over: `down` or `needs_person`.
    alert: Option<Alert>,
    /// How often it was restarted because nothing came, and nothing has come since.
    silences: u32,
    /// When something last came from WhatsApp through it.
    last_event_at: Option<Timestamp>,
    /// When it was last asked; null where no server runs.
    looked_at: Option<Timestamp>,
    /// What to do; empty where nothing is wrong.
    advice: String,
}

/// A line of its history.
#[derive(Clone, Debug, Serialize)]
pub(in crate::admin) struct EntryView {
    at: Timestamp,
    state: Box<str>,
    did: Option<&'static str>,
    note: Box<str>,
}

/// What came of a call that was asked for.
#[derive(Clone, Debug, Serialize)]
pub(in crate::admin) struct CalledView {
    name: GatewayName,
    /// `connect`, `restart` or `start`.
    call: &'static str,
    /// What the gateway answered.
    answer: String,
    state: Box<str>,
    condition: Condition,
    advice: String,
}

impl GatewayView {
    pub(in crate::admin) fn new(
        name: GatewayName,
        standing: Standing,
        last_event_at: Option<Timestamp>,
        looked_at: Option<Timestamp>,
    ) -> Self {
        let advice = advice(&name, &standing);
        let Standing { kind, state, condition, since, alert, silences, .. } = standing;
        Self { name, kind, state, condition, since, alert, silences, last_event_at, looked_at, advice }
    }
}

impl From<Entry> for EntryView {
    fn from(Entry { at, state, did, note }: Entry) -> Self {
        Self { at, state, did: did.map(Call::as_str), note }
    }
}

impl CalledView {
    /// `None` where no call was made.
    pub(in crate::admin) fn new(name: GatewayName, done: Done) -> Option<Self> {
        let Done { call, note, standing } = done;
        let advice = advice(&name, &standing);
        let Standing { state, condition, .. } = standing;
        Some(Self { name, call: call?.as_str(), answer: note, state, condition, advice })
    }
}

/// What to do, with the gateway's name where one is to be typed.
pub(in crate::admin) fn advice(name: &GatewayName, standing: &Standing) -> String {
    standing.advice().replace("NAME", name.as_str())
}
