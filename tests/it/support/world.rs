//! The outside world: receivers of *Standard Webhooks* that behave as badly as a story wants, and change while they run.
//!
//! What each was asked is recorded, and every signature is checked by the published library of the specification's authors,
//! not by code of ours. A receiver that keeps to the specification knows a message by its `webhook-id`: [`World::taken`].

mod talk;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::header::{HeaderMap, HeaderName};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, listen, socket_with};
use standardwebhooks::Webhook;

use super::request::Request;
use super::{Server, eventually};

/// What messages to it are signed with, unless a story says otherwise.
pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Bytes of an answer that nobody wants to have in memory.
pub const FLOOD_BYTES: usize = 100 << 20;

/// A flow whose accepted forms are told to these destinations, one event for each form.
pub fn flow(destinations: &[&str]) -> String {
    let routes: Vec<String> =
        destinations.iter().map(|to| format!("{{ to = \"{to}\", events = [\"submission.accepted\"] }}")).collect();
    format!("\n[flows.form]\npath = \"/form\"\nencryption = \"none\"\ndeliver = [{}]\n", routes.join(", "))
}

/// Puts keys that belong to no table into the config.
pub fn at_the_top(server: &Server, keys: &str) {
    let file = server.folder().join("config.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(file, format!("{keys}\n{text}")).unwrap();
}

/// One request as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    request: Request,
    /// When it had come.
    pub at: jiff::Timestamp,
    /// When it had come, by a clock that never jumps.
    pub moment: std::time::Instant,
    /// The status that it was answered with, if it was.
    pub status: Option<u16>,
}

impl Deref for Asked {
    type Target = Request;

    fn deref(&self) -> &Request {
        &self.request
    }
}

impl Asked {
    /// Its `webhook-id`.
    pub fn id(&self) -> &str {
        self.header("webhook-id")
    }

    /// The token of the form that it tells of.
    pub fn token(&self) -> String {
        self.json()["data"]["submission"]["flow_token"].as_str().unwrap().to_owned()
    }

    /// From the moment at which its event became true, to the millisecond.
    pub fn latency(&self) -> Duration {
        let body = self.json();
        let event: jiff::Timestamp = body["timestamp"].as_str().unwrap().parse().unwrap();
        let at = self.at.as_millisecond().saturating_sub(event.as_millisecond());
        Duration::from_millis(at.try_into().unwrap_or_default())
    }

    /// Whether somebody who knows `secret` takes it for genuine, and signed within the last minutes.
    pub fn is_signed_with(&self, secret: &str) -> bool {
        let headers: HeaderMap = self
            .headers
            .iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()))
            .collect();
        Webhook::new(secret).unwrap().verify(&self.body, &headers).is_ok()
    }
}

/// What a receiver does with a request that it has read.
#[derive(Debug, Clone)]
pub enum Act {
    /// Answers with this status, these headers, and this body.
    Say(u16, Vec<(&'static str, String)>, &'static str),
    /// Says nothing for as long as anybody waits.
    Hang,
    /// Answers by and by, one header after the other, without ever coming to the body.
    DripHead,
    /// Answers 200, and then a byte of its body from time to time, without ever coming to an end.
    DripBody,
    /// Answers 200 and [`FLOOD_BYTES`].
    Flood,
    /// Sends these bytes, whatever they are, and closes.
    Raw(&'static str),
    /// Sends these bytes, and leaves the connection open.
    RawAndStay(&'static str),
    /// Closes without a word.
    Close,
    /// Breaks the connection off.
    Reset,
}

impl Act {
    /// An answer of this status.
    pub const fn say(status: u16) -> Self {
        Self::Say(status, Vec::new(), "")
    }
}

/// What a receiver does with somebody who connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// Lets them in.
    Open,
    /// Closes before anything was said.
    Slam,
    /// Lets them in, and never reads what they say.
    Ignore,
}

type Do = Arc<dyn Fn(&Asked) -> Act + Send + Sync>;

/// One receiver, until the test ends.
pub struct World {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// Its address, while nobody listens there yet.
    closed: Mutex<Option<OwnedFd>>,
}

struct Shared {
    act: Mutex<Do>,
    door: Mutex<Door>,
    asked: Mutex<Vec<Asked>>,
    /// Connections that are never read from.
    ignored: Mutex<Vec<TcpStream>>,
    /// The most bytes of an answer that were sent.
    poured: Mutex<usize>,
}

impl World {
    /// One that takes what it is told.
    pub fn well() -> Self {
        Self::with(|_| Act::say(204))
    }

    /// One that does what `act` says.
    pub fn with(act: impl Fn(&Asked) -> Act + Send + Sync + 'static) -> Self {
        let world = Self::down();
        world.becomes(act);
        world.comes_up();
        world
    }

    /// One that is not there: connections are refused, and nobody else gets its address. Well, once it comes up.
    pub fn down() -> Self {
        // Not for the servers that the stories start: it would take a place of those who may have few open files.
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).unwrap();
        bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
        let shared = Shared {
            act: Mutex::new(Arc::new(|_| Act::say(204))),
            door: Mutex::new(Door::Open),
            asked: Mutex::default(),
            ignored: Mutex::default(),
            poured: Mutex::default(),
        };
        let address = SocketAddrV4::try_from(getsockname(&socket).unwrap()).unwrap().into();
        Self { address, shared: Arc::new(shared), closed: Mutex::new(Some(socket)) }
    }

    /// Listens from now on.
    pub fn comes_up(&self) {
        let socket = self.closed.lock().unwrap().take().expect("it is down");
        listen(&socket, 1024).unwrap();
        let (listener, shared) = (TcpListener::from(socket), Arc::clone(&self.shared));
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let door = *shared.door.lock().unwrap();
                match door {
                    Door::Open => {
                        let shared = Arc::clone(&shared);
                        std::thread::spawn(move || talk::talk(&socket, &shared));
                    }
                    Door::Slam => {}
                    Door::Ignore => shared.ignored.lock().unwrap().push(socket),
                }
            }
        });
    }

    /// Does what `act` says from now on.
    pub fn becomes(&self, act: impl Fn(&Asked) -> Act + Send + Sync + 'static) {
        *self.shared.act.lock().unwrap() = Arc::new(act);
    }

    /// Is well from now on. Whoever it ignored is let go.
    pub fn recovers(&self) {
        self.becomes(|_| Act::say(204));
        self.receives(Door::Open);
        self.shared.ignored.lock().unwrap().clear();
    }

    /// Receives those who connect like this from now on.
    pub fn receives(&self, door: Door) {
        *self.shared.door.lock().unwrap() = door;
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Its table in the config, as `name`. `more`: further keys.
    pub fn table(&self, name: &str, more: &str) -> String {
        self.signed_table(name, &[SECRET], more)
    }

    /// The same, signed with these secrets.
    pub fn signed_table(&self, name: &str, secrets: &[&str], more: &str) -> String {
        let secrets: Vec<String> = secrets.iter().map(|secret| format!("\"text:{secret}\"")).collect();
        format!(
            "\n[destinations.{name}]\nurl = \"http://{}/hook/{name}\"\nsecrets = [{}]\nallow_private = true\n{more}\n",
            self.address,
            secrets.join(", ")
        )
    }

    /// All that it was asked so far, in order.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }

    /// How often it was asked so far.
    pub fn times_asked(&self) -> usize {
        self.shared.asked.lock().unwrap().len()
    }

    /// The most bytes of one flood that left.
    pub fn poured(&self) -> usize {
        *self.shared.poured.lock().unwrap()
    }

    /// What it said yes to, by `webhook-id`, each with all its copies.
    ///
    /// # Panics
    /// When one is not signed, or copies differ.
    pub fn taken(&self) -> BTreeMap<String, Vec<Asked>> {
        let mut taken: BTreeMap<String, Vec<Asked>> = BTreeMap::new();
        for asked in self.asked() {
            if asked.status.is_some_and(|status| (200..300).contains(&status)) {
                taken.entry(asked.id().to_owned()).or_default().push(asked);
            }
        }
        for copies in taken.values() {
            assert!(copies.iter().all(|copy| copy.body == copies[0].body), "one id, several messages: {copies:?}");
        }
        taken
    }

    /// How many messages it said yes to, each counted once.
    pub fn times_taken(&self) -> usize {
        let asked = self.shared.asked.lock().unwrap();
        let yes = asked.iter().filter(|asked| asked.status.is_some_and(|status| (200..300).contains(&status)));
        yes.map(Asked::id).collect::<BTreeSet<_>>().len()
    }

    /// Waits until it was asked so often, and gives all it was asked.
    pub fn until_asked(&self, times: usize) -> Vec<Asked> {
        eventually(&format!("the receiver was asked {times} times"), || (self.times_asked() >= times).then_some(()));
        self.asked()
    }

    /// Waits until it said yes to so many messages.
    pub fn until_taken(&self, messages: usize) -> BTreeMap<String, Vec<Asked>> {
        eventually(&format!("the receiver took {messages} messages"), || {
            (self.times_taken() >= messages).then_some(())
        });
        self.taken()
    }
}
