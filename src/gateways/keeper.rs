//! The keeper of one gateway: looks at its session on a schedule, does what follows, and keeps what became of it.
//!
//! What could not be kept, while the disk is full say, is kept with the next look: an alert is late then, and not lost.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use crate::domain::gateway::session::{Answer, Look, Moment, Session, Step};
use crate::domain::gateway::{Alert, Call, Condition, Standing};
use crate::domain::ids::GatewayName;
use crate::domain::time::Millis;
use crate::store::NoteGateway;

use super::api::Health;
use super::board::{Done, News, Order, Post};
use super::{Access, Board, Tools};

pub(super) struct Keeper {
    name: GatewayName,
    told: watch::Receiver<Arc<Access>>,
    access: Arc<Access>,
    news: watch::Receiver<News>,
    orders: mpsc::Receiver<Order>,
    /// The news that were heeded.
    heeded: News,
    tools: Tools,
    board: Board,
    session: Session,
    /// When the next look is due, by the process clock.
    next_look: Duration,
    /// What is still to be kept.
    pending: Option<NoteGateway>,
}

impl Keeper {
    pub(super) fn new(
        name: GatewayName,
        told: watch::Receiver<Arc<Access>>,
        post: Post,
        tools: Tools,
        board: Board,
    ) -> Self {
        let access = Arc::clone(&told.borrow());
        let (kind, elapsed) = (access.rule.kind, tools.clock.elapsed());
        let known = tools.store.look(|snapshot| snapshot.gateway(&name)).unwrap_or_else(|error| {
            tracing::error!(gateway = name.as_str(), error = %error, "how it stood can't be read: it is looked at anew");
            None
        });
        let known = known.filter(|standing| standing.kind == kind);
        let standing = known.unwrap_or_else(|| Standing::unasked(kind, tools.clock.now()));
        let session = Session::new(access.session_rule(), standing, elapsed);
        let Post { news, orders } = post;
        let heeded = News::default();
        Self { name, told, access, news, orders, heeded, tools, board, session, next_look: elapsed, pending: None }
    }

    /// Looks after it until it is gone from the config or the server ends.
    pub(super) async fn run(mut self) {
        loop {
            // A keeper that waited for the end of another one may not be wanted any more: it must not ask.
            if self.told.has_changed().is_err() {
                return self.show_as(f64::NAN);
            }
            let wait = self.next_look.saturating_sub(self.tools.clock.elapsed());
            tokio::select! {
                changed = self.told.changed() => match changed {
                    Ok(()) => self.renew(),
                    Err(_) => return self.show_as(f64::NAN),
                },
                Ok(()) = self.news.changed() => self.heed().await,
                Some(order) = self.orders.recv() => self.carry_out(order).await,
                () = sleep(wait) => self.look().await,
            }
        }
    }

    fn renew(&mut self) {
        self.access = Arc::clone(&self.told.borrow_and_update());
        self.session.renew(self.access.session_rule());
        self.next_look = self.tools.clock.elapsed();
    }

    /// Asks for the state, and does what follows.
    async fn look(&mut self) {
        if let Some(look) = self.ask().await {
            let step = self.session.saw(look, &self.moment());
            self.act(step).await;
        }
    }

    /// Asks for the state; `None` where there was no time for the question.
    async fn ask(&mut self) -> Option<Look> {
        let health = self.tools.api.health(&self.access).await;
        self.board.note(&self.name, self.tools.clock.now());
        let (look, wait) = match health {
            Health::Seen(look) => (Some(look), Millis::ZERO),
            Health::Busy(wait) => (None, wait),
        };
        let wait = self.access.rule.check.max(wait).to_duration();
        self.next_look = self.tools.clock.elapsed().saturating_add(wait);
        look
    }

    /// Its webhook said something.
    async fn heed(&mut self) {
        let news = self.news.borrow_and_update().clone();
        let before = std::mem::replace(&mut self.heeded, news.clone());
        if news.heard != before.heard {
            let step = self.session.heard(&self.moment());
            self.act(step).await;
        }
        if news.states != before.states {
            let step = self.session.saw(Look::State(news.state), &self.moment());
            self.act(step).await;
        }
    }

    /// An admin asks for a call.
    async fn carry_out(&mut self, order: Order) {
        let (call, note) = match self.call_on_demand().await {
            Ok((call, answer)) => (Some(call), answer.note(self.access.rule.kind)),
            Err(why) => (None, why),
        };
        // Whoever asked may have gone.
        let _ = order.reply.send(Done { call, note, standing: self.session.standing().clone() });
    }

    /// Makes the call that fits the state as it is now; `Err`: it can't be asked for that, and why.
    async fn call_on_demand(&mut self) -> Result<(Call, Answer), String> {
        let busy = || "it was asked too often, and wants to be left alone for a while".to_owned();
        let look = self.ask().await.ok_or_else(busy)?;
        let unknown = match &look {
            Look::Unanswered(why) | Look::Refused(why) => Some(why.clone()),
            Look::State(_) => None,
        };
        // What would have been called by itself is called below, once.
        let step = Step { call: None, ..self.session.saw(look, &self.moment()) };
        self.keep(step).await;
        if let Some(why) = unknown {
            return Err(why);
        }
        let call = self.session.asked(&self.moment());
        Ok((call, self.call(call).await))
    }

    /// Keeps what follows from something, and makes the call that does.
    async fn act(&mut self, mut step: Step) {
        let call = step.call.take();
        self.keep(step).await;
        if let Some(call) = call {
            self.call(call).await;
        }
    }

    async fn call(&mut self, call: Call) -> Answer {
        let answer = self.tools.api.call(&self.access, call).await;
        let outcome = if matches!(answer, Answer::Failed(_)) { "failed" } else { "taken" };
        let (gateway, name) = (self.name.as_str(), call.as_str());
        tracing::info!(
            gateway,
            call = name,
            outcome,
            answer = answer.note(self.access.rule.kind),
            "a gateway was called"
        );
        metrics::counter!("flowgate_gateway_calls_total", "gateway" => gateway.to_owned(), "call" => name, "outcome" => outcome)
            .increment(1);
        let step = self.session.called(call, answer.clone(), &self.moment());
        self.keep(step).await;
        answer
    }

    /// Writes down what is new, with what could not be written before.
    async fn keep(&mut self, step: Step) {
        self.tell(&step);
        let standing = self.session.standing().clone();
        self.show_as(if standing.condition == Condition::Up { 1.0 } else { 0.0 });
        let is_new = step.changed || !step.entries.is_empty() || step.tell.is_some();
        let mut note = match self.pending.take() {
            Some(pending) => pending,
            None if is_new => {
                let gateway = self.name.clone();
                NoteGateway { gateway, standing: standing.clone(), entries: Vec::new(), tell: Vec::new() }
            }
            None => return,
        };
        note.standing = standing;
        note.entries.extend(step.entries);
        note.tell.extend(step.tell);
        if let Err(error) = self.tools.store.commit(note.clone()).await {
            // A store that is closed for a while tells why itself.
            if !error.is_of_closed_store() {
                tracing::error!(gateway = self.name.as_str(), error = %error, "what became of it can't be kept");
            }
            self.pending = Some(note);
        }
    }

    /// Sets its figure. One that is gone from the config has none: no rule finds it down for ever.
    fn show_as(&self, up: f64) {
        metrics::gauge!("flowgate_gateway_up", "gateway" => self.name.as_str().to_owned()).set(up);
    }

    fn tell(&self, step: &Step) {
        let Standing { state, condition, .. } = self.session.standing();
        let (gateway, state, condition) = (self.name.as_str(), &**state, condition.as_str());
        for entry in step.entries.iter().filter(|entry| entry.did.is_none()) {
            tracing::info!(gateway, state = &*entry.state, why = &*entry.note, "a gateway's session changed");
        }
        let advice = self.session.standing().advice();
        match step.tell {
            Some(Alert::Down) => tracing::warn!(gateway, state, condition, advice, "a gateway's session is down"),
            Some(Alert::NeedsPerson) => {
                tracing::error!(gateway, state, condition, advice, "a gateway's session needs somebody");
            }
            None => {}
        }
        if step.is_well_again {
            tracing::info!(gateway, state, "a gateway's session is well again");
        }
    }

    fn moment(&self) -> Moment {
        let Tools { clock, entropy, .. } = &self.tools;
        Moment { at: clock.now(), elapsed: clock.elapsed(), chance: entropy.fraction() }
    }
}
