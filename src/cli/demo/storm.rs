//! The senders: each form leaves when it is due, whatever became of those before it, and is sent again until it is
//! answered, as Meta and a customer's thumb do.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::plan::{Form, Plan};
use super::report::Sending;
use super::verdict::Fate;
use crate::cli::sender::{Answer, SendError, Sender, signature};
use crate::clock::Clock;

/// Requests under way at once at the most: above the rivals, so that they truly race, and below what a shell lets one
/// process open (1024, often).
const UNDER_WAY_MAX: usize = 256;

/// Between two tries of one form.
const PAUSE: Duration = Duration::from_millis(50);

/// After so long without an answer a form counts as unanswered.
const PATIENCE: Duration = Duration::from_mins(1);

/// What the storm has sent so far, and with what outcome.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Each form with its fate, in the order of the answers.
    pub sent: Vec<(String, Fate)>,
    /// Counts and delays.
    pub sending: Sending,
}

/// The senders of one demo.
pub struct Storm {
    secret: String,
    clock: Arc<dyn Clock>,
    /// Where the server listens; `None` while it is down.
    server: watch::Receiver<Option<SocketAddr>>,
    under_way: Semaphore,
    idle: Mutex<Vec<Sender>>,
    ledger: Mutex<Ledger>,
    answered: Box<dyn Fn() + Send + Sync>,
}

impl Storm {
    /// Senders that sign with `secret` and send to wherever `server` says. `answered` is called after each answer.
    pub fn new(
        secret: String,
        clock: Arc<dyn Clock>,
        server: watch::Receiver<Option<SocketAddr>>,
        answered: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        Self {
            secret,
            clock,
            server,
            under_way: Semaphore::new(UNDER_WAY_MAX),
            idle: Mutex::default(),
            ledger: Mutex::default(),
            answered: Box::new(answered),
        }
    }

    /// Sends the whole plan, and waits until each form has its fate.
    pub async fn blow(self: &Arc<Self>, plan: Plan) {
        let start = self.clock.elapsed();
        let mut forms = JoinSet::new();
        for number in 0..plan.sends() {
            let due = start + plan.due(number);
            tokio::time::sleep(due.saturating_sub(self.clock.elapsed())).await;
            let storm = Arc::clone(self);
            forms.spawn(async move { storm.send(plan.form(number), due).await });
            // What has ended is let go, so that memory does not grow with the length of the storm.
            while forms.try_join_next().is_some() {}
        }
        while forms.join_next().await.is_some() {}
        self.with_ledger(|ledger| ledger.sending.lasted = self.clock.elapsed().saturating_sub(start));
    }

    /// Sends these all at once, and waits until each has its fate.
    pub async fn race(self: &Arc<Self>, rivals: Vec<Form>) {
        // Connected beforehand, so that they start from one line.
        if let Ok(address) = self.address().await {
            for _ in 0..rivals.len().min(UNDER_WAY_MAX) {
                if let Ok(sender) = Sender::connect(address).await {
                    self.park(sender);
                }
            }
        }
        let start = self.clock.elapsed();
        let mut forms = JoinSet::new();
        for form in rivals {
            let storm = Arc::clone(self);
            forms.spawn(async move { storm.deliver(form, start).await });
        }
        while forms.join_next().await.is_some() {}
        self.with_ledger(|ledger| ledger.sending.race = self.clock.elapsed().saturating_sub(start));
    }

    /// What is known so far; the ledger is empty afterwards.
    pub fn take_ledger(&self) -> Ledger {
        self.with_ledger(std::mem::take)
    }

    /// Sends a form of the storm, and notes how long its sender waited.
    async fn send(&self, form: Form, due: Duration) {
        let at_once = self.deliver(form, due).await;
        let delay = self.clock.elapsed().saturating_sub(due);
        self.with_ledger(|Ledger { sending, .. }| {
            if at_once {
                sending.delays.push(delay);
            } else {
                sending.held_up += 1;
            }
        });
    }

    /// Sends one form until it is answered. Says whether it was at the first try, the server being up.
    async fn deliver(&self, form: Form, due: Duration) -> bool {
        let mut tries = 0_u64;
        let mut met_outage = false;
        let fate = loop {
            tries += 1;
            met_outage |= self.server.borrow().is_none();
            let trouble = match self.attempt(&form).await {
                Ok(answer) if answer.status == 503 => "503, again and again".to_owned(),
                Ok(answer) => break fate_of(&answer),
                Err(error) => error.to_string(),
            };
            if self.clock.elapsed() > due + PATIENCE {
                break Fate::Unanswered(trouble);
            }
            tokio::time::sleep(PAUSE).await;
        };
        self.with_ledger(|ledger| {
            ledger.sending.requests += tries;
            ledger.sending.again += tries - 1;
            ledger.sent.push((form.token, fate));
        });
        (self.answered)();
        tries == 1 && !met_outage
    }

    async fn attempt(&self, form: &Form) -> Result<Answer, SendError> {
        let address = self.address().await?;
        // Never closed, so there always is a place in the end.
        let _place = self.under_way.acquire().await;
        let mut sender = match self.idle_sender(address) {
            Some(sender) => sender,
            None => Sender::connect(address).await?,
        };
        let answer = sender.post(form.path, &signature(&self.secret, &form.body), form.body.clone()).await?;
        self.park(sender);
        Ok(answer)
    }

    /// Where the server is, as soon as there is one.
    async fn address(&self) -> Result<SocketAddr, SendError> {
        let mut server = self.server.clone();
        let up = server.wait_for(Option::is_some).await;
        up.ok().and_then(|address| *address).ok_or_else(|| SendError::Broken("the server is gone for good".to_owned()))
    }

    /// A connection that waits for work, if it is to the server of now.
    fn idle_sender(&self, address: SocketAddr) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|sender| sender.address() == address);
        idle.pop()
    }

    fn park(&self, sender: Sender) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
    }

    fn with_ledger<T>(&self, action: impl FnOnce(&mut Ledger) -> T) -> T {
        action(&mut self.ledger.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn fate_of(answer: &Answer) -> Fate {
    if answer.is_accepted() {
        Fate::Accepted
    } else if answer.is_duplicate() {
        Fate::Duplicate
    } else if answer.complaint().is_some() {
        Fate::SlotGone
    } else {
        Fate::Refused(format!("{} {}", answer.status, answer.body))
    }
}
