//! Fake receivers of *Standard Webhooks* for destinations. A test defines their behavior and can
//! change it at run time.
//!
//! Each receiver records its requests. Every signature is checked by the library that the authors
//! of the specification publish, not by our own code. A receiver that follows the specification
//! identifies a message by its `webhook-id`. See [`World::taken`].

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

/// Default secret that signs the messages to a receiver.
pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Size of a response that is too large to hold in memory, in bytes.
pub const FLOOD_BYTES: usize = 100 << 20;

/// Returns the config of a flow that sends one event per accepted form to these destinations.
pub fn flow(destinations: &[&str]) -> String {
    let routes: Vec<String> = destinations
        .iter()
        .map(|to| format!("{{ to = \"{to}\", events = [\"submission.accepted\"] }}"))
        .collect();
    format!(
        "\n[flows.form]\npath = \"/form\"\nencryption = \"none\"\ndeliver = [{}]\n",
        routes.join(", ")
    )
}

/// Adds keys that belong to no table to the config.
pub fn add_top_level_keys(server: &Server, keys: &str) {
    let file = server.folder().join("config.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(file, format!("{keys}\n{text}")).unwrap();
}

/// Request as received.
#[derive(Debug, Clone)]
pub struct RecordedRequest {
    request: Request,
    /// Time of receipt.
    pub at: jiff::Timestamp,
    /// Time of receipt on a monotonic clock.
    pub moment: std::time::Instant,
    /// Status of the response. `None`: no response.
    pub status: Option<u16>,
}

impl Deref for RecordedRequest {
    type Target = Request;

    fn deref(&self) -> &Request {
        &self.request
    }
}

impl RecordedRequest {
    /// Returns the `webhook-id`.
    pub fn id(&self) -> &str {
        self.header("webhook-id")
    }

    /// Returns the token of the form in the event.
    pub fn token(&self) -> String {
        self.json()["data"]["submission"]["flow_token"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// Returns the time from the event to the receipt, in milliseconds.
    pub fn latency(&self) -> Duration {
        let body = self.json();
        let event: jiff::Timestamp = body["timestamp"].as_str().unwrap().parse().unwrap();
        let at = self
            .at
            .as_millisecond()
            .saturating_sub(event.as_millisecond());
        Duration::from_millis(at.try_into().unwrap_or_default())
    }

    /// Returns `true` if a receiver with `secret` accepts the signature as valid and made within
    /// the last minutes.
    pub fn is_signed_with(&self, secret: &str) -> bool {
        let headers: HeaderMap = self
            .headers
            .iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()))
            .collect();
        Webhook::new(secret)
            .unwrap()
            .verify(&self.body, &headers)
            .is_ok()
    }
}

/// Behavior after a request was read.
#[derive(Debug, Clone)]
pub enum Behavior {
    /// Responds with this status, these headers and this body.
    Respond(u16, Vec<(&'static str, String)>, &'static str),
    /// Sends no response.
    Hang,
    /// Sends one header after another and never reaches the body.
    DripHead,
    /// Responds with 200 and sends one byte of the body at a time, without an end.
    DripBody,
    /// Responds with 200 and [`FLOOD_BYTES`] bytes.
    Flood,
    /// Sends these bytes and closes the connection.
    Raw(&'static str),
    /// Sends these bytes and leaves the connection open.
    RawAndStayOpen(&'static str),
    /// Closes the connection without a response.
    Close,
    /// Resets the connection.
    Reset,
}

impl Behavior {
    /// Returns a response with this status.
    pub const fn reply_with(status: u16) -> Self {
        Self::Respond(status, Vec::new(), "")
    }
}

/// Behavior for new connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionBehavior {
    /// Accepts the connection.
    Open,
    /// Closes the connection at once.
    CloseAtOnce,
    /// Accepts the connection and never reads from it.
    Ignore,
}

type BehaviorFn = Arc<dyn Fn(&RecordedRequest) -> Behavior + Send + Sync>;

/// Fake receiver. Its threads run until the test process exits.
pub struct FakeReceiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// Socket that reserves the address while the receiver is down.
    closed: Mutex<Option<OwnedFd>>,
}

struct Shared {
    act: Mutex<BehaviorFn>,
    door: Mutex<ConnectionBehavior>,
    asked: Mutex<Vec<RecordedRequest>>,
    /// Connections that are never read.
    ignored: Mutex<Vec<TcpStream>>,
    /// Largest number of bytes sent for one response.
    poured: Mutex<usize>,
}

impl FakeReceiver {
    /// Starts a receiver that accepts everything.
    pub fn well() -> Self {
        Self::with(|_| Behavior::reply_with(204))
    }

    /// Starts a receiver with the behavior `act`.
    pub fn with(act: impl Fn(&RecordedRequest) -> Behavior + Send + Sync + 'static) -> Self {
        let world = Self::down();
        world.becomes(act);
        world.start_listening();
        world
    }

    /// Creates a receiver that is down. Connections are refused, and no other process gets its
    /// address. The receiver accepts everything after [`Self::comes_up`].
    pub fn down() -> Self {
        // Child processes must not inherit the socket. Without this, a server with few open files
        // would lose one of them.
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).unwrap();
        bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
        let shared = Shared {
            act: Mutex::new(Arc::new(|_| Behavior::reply_with(204))),
            door: Mutex::new(ConnectionBehavior::Open),
            asked: Mutex::default(),
            ignored: Mutex::default(),
            poured: Mutex::default(),
        };
        let address = SocketAddrV4::try_from(getsockname(&socket).unwrap())
            .unwrap()
            .into();
        Self {
            address,
            shared: Arc::new(shared),
            closed: Mutex::new(Some(socket)),
        }
    }

    /// Starts to listen.
    pub fn start_listening(&self) {
        let socket = self.closed.lock().unwrap().take().expect("it is down");
        listen(&socket, 1024).unwrap();
        let (listener, shared) = (TcpListener::from(socket), Arc::clone(&self.shared));
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let door = *shared.door.lock().unwrap();
                match door {
                    ConnectionBehavior::Open => {
                        let shared = Arc::clone(&shared);
                        std::thread::spawn(move || talk::talk(&socket, &shared));
                    }
                    ConnectionBehavior::CloseAtOnce => {}
                    ConnectionBehavior::Ignore => shared.ignored.lock().unwrap().push(socket),
                }
            }
        });
    }

    /// Sets the behavior.
    pub fn becomes(&self, act: impl Fn(&RecordedRequest) -> Behavior + Send + Sync + 'static) {
        *self.shared.act.lock().unwrap() = Arc::new(act);
    }

    /// Accepts everything from now on. Closes the ignored connections.
    pub fn recover(&self) {
        self.becomes(|_| Behavior::reply_with(204));
        self.set_connection_behavior(ConnectionBehavior::Open);
        self.shared.ignored.lock().unwrap().clear();
    }

    /// Sets the behavior for new connections.
    pub fn set_connection_behavior(&self, door: ConnectionBehavior) {
        *self.shared.door.lock().unwrap() = door;
    }

    /// Returns the URL of the receiver.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Returns the config table of the destination `name`. `more` contains further keys.
    pub fn table(&self, name: &str, more: &str) -> String {
        self.signed_table(name, &[SECRET], more)
    }

    /// Returns the config table of the destination `name` with these signing secrets.
    pub fn signed_table(&self, name: &str, secrets: &[&str], more: &str) -> String {
        let secrets: Vec<String> = secrets
            .iter()
            .map(|secret| format!("\"text:{secret}\""))
            .collect();
        format!(
            "\n[destinations.{name}]\nurl = \"http://{}/hook/{name}\"\nsecrets = [{}]\nallow_private = true\n{more}\n",
            self.address,
            secrets.join(", ")
        )
    }

    /// Returns all requests so far, in order.
    pub fn asked(&self) -> Vec<RecordedRequest> {
        self.shared.asked.lock().unwrap().clone()
    }

    /// Returns the number of requests so far.
    pub fn request_count(&self) -> usize {
        self.shared.asked.lock().unwrap().len()
    }

    /// Returns the largest number of bytes sent for one flood response.
    pub fn poured(&self) -> usize {
        *self.shared.poured.lock().unwrap()
    }

    /// Returns the requests with a 2xx response, with all copies, by `webhook-id`.
    ///
    /// # Panics
    /// Panics if a request has no `webhook-id` or if copies differ.
    pub fn taken(&self) -> BTreeMap<String, Vec<RecordedRequest>> {
        let mut taken: BTreeMap<String, Vec<RecordedRequest>> = BTreeMap::new();
        for asked in self.asked() {
            if asked
                .status
                .is_some_and(|status| (200..300).contains(&status))
            {
                taken.entry(asked.id().to_owned()).or_default().push(asked);
            }
        }
        for copies in taken.values() {
            assert!(
                copies.iter().all(|copy| copy.body == copies[0].body),
                "one id, several messages: {copies:?}"
            );
        }
        taken
    }

    /// Returns the number of different messages with a 2xx response.
    pub fn accepted_count(&self) -> usize {
        let asked = self.shared.asked.lock().unwrap();
        let yes = asked.iter().filter(|asked| {
            asked
                .status
                .is_some_and(|status| (200..300).contains(&status))
        });
        yes.map(RecordedRequest::id).collect::<BTreeSet<_>>().len()
    }

    /// Waits for this number of requests and returns all requests.
    pub fn wait_for_requests(&self, times: usize) -> Vec<RecordedRequest> {
        eventually(&format!("the receiver was asked {times} times"), || {
            (self.request_count() >= times).then_some(())
        });
        self.asked()
    }

    /// Waits for this number of different messages with a 2xx response.
    pub fn wait_for_accepted(&self, messages: usize) -> BTreeMap<String, Vec<RecordedRequest>> {
        eventually(&format!("the receiver took {messages} messages"), || {
            (self.accepted_count() >= messages).then_some(())
        });
        self.taken()
    }
}
