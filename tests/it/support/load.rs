//! A steady load of forms, for stories in which something happens to the server meanwhile.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::form::Form;
use super::http::{Connection, signed_post};

/// Senders that post one form after the other, each over a connection of its own.
pub struct Load {
    senders: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    enough: AtomicBool,
    sent: Mutex<Vec<String>>,
    acknowledged: Mutex<Vec<String>>,
}

/// What the senders know at the end.
pub struct Poured {
    /// Tokens of all forms that left.
    pub sent: Vec<String>,
    /// Of these, the ones that were answered with success.
    pub acknowledged: Vec<String>,
}

impl Load {
    /// Begins with `senders` senders. Tokens begin with `prefix`.
    pub fn begin(server: SocketAddr, path: &'static str, prefix: &str, senders: usize) -> Self {
        let shared = Arc::new(Shared::default());
        let senders = (0..senders).map(|sender| {
            let (shared, prefix) = (Arc::clone(&shared), format!("{prefix}-{sender}"));
            std::thread::spawn(move || pour(server, path, &prefix, &shared))
        });
        Self { senders: senders.collect(), shared }
    }

    /// How many forms were acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        self.shared.acknowledged.lock().unwrap().len()
    }

    /// Lets each sender finish its form, and ends.
    pub fn end(self) -> Poured {
        self.shared.enough.store(true, Ordering::SeqCst);
        for sender in self.senders {
            sender.join().unwrap();
        }
        let Shared { sent, acknowledged, .. } = &*self.shared;
        Poured {
            sent: std::mem::take(&mut sent.lock().unwrap()),
            acknowledged: std::mem::take(&mut acknowledged.lock().unwrap()),
        }
    }
}

/// Sends until there is enough, or the server is gone. Whatever it answers, it must be a success.
fn pour(server: SocketAddr, path: &str, prefix: &str, shared: &Shared) {
    let Ok(mut connection) = Connection::open(server) else { return };
    for number in 0.. {
        if shared.enough.load(Ordering::SeqCst) {
            return;
        }
        let token = format!("{prefix}-{number}");
        shared.sent.lock().unwrap().push(token.clone());
        let Ok(answer) = connection.exchange(&signed_post(path, &Form::new(&token).body())) else { return };
        if answer.status == 503 {
            return;
        }
        assert!(answer.is_accepted(), "{answer:?}");
        shared.acknowledged.lock().unwrap().push(token);
    }
}
