//! Fake unofficial gateways that behave like the real ones, including their traps. The reported
//! session state and the real state may differ, and a 200 may be a refusal.

use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::Sha512;

use super::Server;
use super::http::{Answer, post};
use super::request::Request;

/// Key of the session, or of the API.
pub const KEY: &str = "session-key-9f2c";
/// Token that manages sessions.
pub const TOKEN: &str = "personal-token-71d0";
/// Secret that authenticates webhooks.
pub const SECRET: &str = "webhook-secret-5a3e";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Wasender,
    Waha,
    Evolution,
}

pub const KINDS: [Kind; 3] = [Kind::Wasender, Kind::Waha, Kind::Evolution];

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Wasender => "wasender",
            Self::Waha => "waha",
            Self::Evolution => "evolution",
        }
    }

    /// Returns the names of three session states: connected, disconnected, and without a phone.
    pub fn words(self) -> [&'static str; 3] {
        match self {
            Self::Wasender => ["connected", "disconnected", "need_scan"],
            Self::Waha => ["WORKING", "FAILED", "SCAN_QR_CODE"],
            Self::Evolution => ["open", "close", "close"],
        }
    }
}

/// State of the session.
#[derive(Debug)]
struct State {
    /// Reported state.
    shown_text: String,
    /// `true` if the session is really connected.
    is_connected: bool,
    /// `true` if the phone has removed the session. Only a scanned code helps then.
    is_unpaired: bool,
    /// Number of state requests.
    looks: usize,
    /// Other calls, such as `POST /whatsapp-sessions/17/connect`.
    calls: Vec<String>,
    /// Sent messages: recipient and text.
    sent: Vec<(String, String)>,
    /// Rate limit. `None`: no limit.
    window: Option<Window>,
    /// Number of messages that exceeded the rate limit.
    too_many: usize,
    /// `true` if the session is starting and no call connects it.
    is_stuck: bool,
    /// Number without a WhatsApp account.
    unknown: Option<String>,
}

/// Rate limit of a hosted gateway: a number of messages per window, by the wall clock in seconds.
#[derive(Debug)]
struct Window {
    most: u64,
    seconds: i64,
    left: u64,
    until: i64,
}

impl Window {
    /// Starts a new window if the current window is over.
    fn look(&mut self) {
        let now = Timestamp::now().as_second();
        if now >= self.until {
            (self.left, self.until) = (self.most, now + self.seconds);
        }
    }

    /// Returns the rate limit headers of each response.
    fn headers(&self) -> String {
        let Self {
            most, left, until, ..
        } = self;
        format!(
            "x-ratelimit-limit: {most}\r\nx-ratelimit-remaining: {left}\r\nx-ratelimit-reset: {until}\r\n"
        )
    }
}

/// Fake gateway. It runs until the test process exits, with one thread per connection.
pub struct Gateway {
    pub kind: Kind,
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Gateway {
    /// Starts a gateway with a connected session.
    pub fn start(kind: Kind) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shown_text = kind.words()[0].to_owned();
        let state = State {
            shown_text,
            is_connected: true,
            is_unpaired: false,
            looks: 0,
            calls: Vec::new(),
            sent: Vec::new(),
            window: None,
            too_many: 0,
            is_stuck: false,
            unknown: None,
        };
        let state = Arc::new(Mutex::new(state));
        let running = Arc::clone(&state);
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let state = Arc::clone(&running);
                std::thread::spawn(move || talk(kind, &socket, &state));
            }
        });
        Self {
            kind,
            address,
            state,
        }
    }

    /// Returns the config of the gateway as `shop`. `more` contains further keys of its table.
    pub fn config(&self, more: &str) -> String {
        let keys = match self.kind {
            Kind::Wasender => format!(
                "session = \"17\"\nsession_key = \"text:{KEY}\"\naccess_token = \"text:{TOKEN}\"\nwebhook_secret = \"text:{SECRET}\""
            ),
            Kind::Waha => {
                format!(
                    "session = \"shop\"\napi_key = \"text:{KEY}\"\nwebhook_secret = \"text:{SECRET}\""
                )
            }
            Kind::Evolution => format!("session = \"shop\"\napi_key = \"text:{KEY}\""),
        };
        let (kind, address) = (self.kind.name(), self.address);
        format!(
            "\n[gateways.shop]\nkind = \"{kind}\"\nurl = \"http://{address}\"\nallow_private = true\n{keys}\n{more}\n"
        )
    }

    /// Disconnects the session.
    pub fn drop_session(&self) {
        let mut state = self.state.lock().unwrap();
        (state.shown_text, state.is_connected) = (self.kind.words()[1].to_owned(), false);
    }

    /// Removes the session from the phone.
    pub fn unpair(&self) {
        let mut state = self.state.lock().unwrap();
        (state.shown_text, state.is_connected, state.is_unpaired) =
            (self.kind.words()[1].to_owned(), false, true);
    }

    /// Scans the code.
    pub fn scan(&self) {
        let mut state = self.state.lock().unwrap();
        (state.shown_text, state.is_connected) = (self.kind.words()[0].to_owned(), true);
        (state.is_unpaired, state.is_stuck) = (false, false);
    }

    /// Sets the session to starting. No call connects the session.
    pub fn stick_in_starting_state(&self) {
        let mut state = self.state.lock().unwrap();
        let shown_text = if self.kind == Kind::Waha {
            "STARTING"
        } else {
            "connecting"
        };
        (state.shown_text, state.is_connected, state.is_stuck) =
            (shown_text.to_owned(), false, true);
    }

    /// Disconnects the session, but the reported state stays connected.
    pub fn disconnect_silently(&self) {
        self.state.lock().unwrap().is_connected = false;
    }

    /// Sets a rate limit: `most` messages per `seconds`.
    pub fn allow(&self, most: u64, seconds: i64) {
        self.state.lock().unwrap().window = Some(Window {
            most,
            seconds,
            left: most,
            until: 0,
        });
    }

    /// Sets the number that has no WhatsApp account.
    pub fn set_unknown_number(&self, number: &str) {
        self.state.lock().unwrap().unknown = Some(number.to_owned());
    }

    /// Returns the sent messages: recipient as in the request, and text.
    pub fn sent(&self) -> Vec<(String, String)> {
        self.state.lock().unwrap().sent.clone()
    }

    /// Returns the number of messages that exceeded the rate limit.
    pub fn too_many(&self) -> usize {
        self.state.lock().unwrap().too_many
    }

    /// Sets the reported state.
    pub fn reply_with(&self, word: &str) {
        word.clone_into(&mut self.state.lock().unwrap().shown_text);
    }

    pub fn is_connected(&self) -> bool {
        self.state.lock().unwrap().is_connected
    }

    pub fn looks(&self) -> usize {
        self.state.lock().unwrap().looks
    }

    /// Returns the names of the calls, from their paths.
    pub fn calls(&self) -> Vec<String> {
        let state = self.state.lock().unwrap();
        let parts = state
            .calls
            .iter()
            .map(|call| call.split('/').collect::<Vec<_>>());
        parts
            .map(|parts| {
                parts[if self.kind == Kind::Evolution {
                    2
                } else {
                    parts.len() - 1
                }]
                .to_owned()
            })
            .collect()
    }

    /// Sends an event of the webhook with its authentication.
    pub fn send(&self, server: &Server, event: &Value) -> Answer {
        let mut event = event.clone();
        match self.kind {
            Kind::Wasender => event["sessionId"] = json!(KEY),
            Kind::Waha => {}
            Kind::Evolution => event["apikey"] = json!(KEY),
        }
        let body = event.to_string().into_bytes();
        let proof = match self.kind {
            Kind::Wasender => Some(("x-webhook-signature", SECRET.to_owned())),
            Kind::Waha => Some(("x-webhook-hmac", hmac(SECRET, &body))),
            Kind::Evolution => None,
        };
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(proof.iter().map(|(name, value)| (*name, value.as_str())));
        server
            .connect()
            .exchange(&post("/gateways/shop", &headers, &body))
            .unwrap()
    }

    /// Returns a text message event in the format of the gateway kind.
    pub fn message(&self, id: &str, from_me: bool, text: &str) -> Value {
        let key = json!({"id": id, "fromMe": from_me, "remoteJid": "4915112345678@s.whatsapp.net"});
        match self.kind {
            Kind::Wasender => {
                json!({"event": "messages.received", "timestamp": 1_800_000_000, "data": {"messages": {"key": key, "messageBody": text}}})
            }
            Kind::Waha => {
                json!({"event": "message", "session": "shop", "payload": {"id": id, "from": "4915112345678@c.us", "fromMe": from_me, "body": text}})
            }
            Kind::Evolution => {
                json!({"event": "messages.upsert", "instance": "shop", "data": {"key": key, "message": {"conversation": text}}})
            }
        }
    }

    /// Returns a session state event in the format of the gateway kind.
    pub fn status(&self, word: &str) -> Value {
        match self.kind {
            Kind::Wasender => json!({"event": "session.status", "data": {"status": word}}),
            Kind::Waha => {
                json!({"event": "session.status", "session": "shop", "payload": {"name": "shop", "status": word}})
            }
            Kind::Evolution => {
                json!({"event": "connection.update", "instance": "shop", "data": {"state": word}})
            }
        }
    }
}

/// Returns the HMAC-SHA512 in hex.
pub fn hmac(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha512>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body);
    mac.finalize()
        .into_bytes()
        .iter()
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

fn talk(kind: Kind, socket: &TcpStream, state: &Mutex<State>) {
    let (mut from, mut to) = (BufReader::new(socket), socket);
    while let Some(request) = Request::read(&mut from) {
        let (status, body, more) = {
            let mut state = state.lock().unwrap();
            let (status, body) = answer(kind, &request, &mut state);
            (
                status,
                body.to_string(),
                state
                    .window
                    .as_ref()
                    .map(Window::headers)
                    .unwrap_or_default(),
            )
        };
        let head = format!(
            "HTTP/1.1 {status} So\r\ncontent-type: application/json\r\n{more}content-length: {}\r\n\r\n",
            body.len()
        );
        // The client may be gone.
        if to
            .write_all(&[head.as_bytes(), body.as_bytes()].concat())
            .is_err()
        {
            return;
        }
    }
}

fn answer(kind: Kind, request: &Request, state: &mut State) -> (u16, Value) {
    let line = format!("{} {}", request.method, request.path);
    let (name, key) = expected_key(kind, &line);
    if !request.headers.contains(&(name.to_owned(), key)) {
        return (401, json!({"success": false, "message": "Unauthorized"}));
    }
    let word = &state.shown_text;
    let shown_state = match line.as_str() {
        "GET /status" => json!({"status": word}),
        "GET /api/sessions/shop" => json!({"name": "shop", "status": word}),
        "GET /instance/connectionState/shop" => {
            json!({"instance": {"instanceName": "shop", "state": word}})
        }
        "POST /send-message" | "POST /api/sendText" | "POST /message/sendText/shop" => {
            return send(kind, &request.json(), state);
        }
        _ => return connect(kind, &line, state),
    };
    state.looks += 1;
    (200, shown_state)
}

/// Returns the header that authenticates a request, and its value.
fn expected_key(kind: Kind, line: &str) -> (&'static str, String) {
    match (kind, line) {
        (Kind::Wasender, "GET /status" | "POST /send-message") => {
            ("authorization", format!("Bearer {KEY}"))
        }
        (Kind::Wasender, _) => ("authorization", format!("Bearer {TOKEN}")),
        (Kind::Waha, _) => ("x-api-key", KEY.to_owned()),
        (Kind::Evolution, _) => ("apikey", KEY.to_owned()),
    }
}

/// Connects or restarts the session, as the gateway kind does.
fn connect(kind: Kind, line: &str, state: &mut State) -> (u16, Value) {
    state.calls.push(line.to_owned());
    if state.is_stuck {
        return (200, json!({"success": true}));
    }
    if let Some(refusal) = refuse_call(line, state) {
        return refusal;
    }
    let [up, _, forgotten] = kind.words();
    let word = if state.is_unpaired { forgotten } else { up };
    (state.shown_text, state.is_connected) = (word.to_owned(), !state.is_unpaired);
    match (kind, state.is_unpaired) {
        (Kind::Wasender, _) if line.ends_with("restart") => (
            200,
            json!({"success": true, "data": {"message": "restarted"}}),
        ),
        // Upper case in this response only.
        (Kind::Wasender, true) => (
            200,
            json!({"success": true, "data": {"status": "NEED_SCAN", "qrCode": "2@abc"}}),
        ),
        (Kind::Wasender, false) => (
            200,
            json!({"success": true, "data": {"status": "CONNECTED"}}),
        ),
        (Kind::Waha, _) => (201, json!({"name": "shop", "status": "STARTING"})),
        (Kind::Evolution, true) => (
            200,
            json!({"pairingCode": null, "code": "2@abc", "base64": "data:image/png;base64,aa", "count": 1}),
        ),
        (Kind::Evolution, false) => (
            200,
            json!({"instance": {"instanceName": "shop", "state": "open"}}),
        ),
    }
}

/// Returns the response to a call that can't connect the session.
fn refuse_call(line: &str, state: &State) -> Option<(u16, Value)> {
    let not_connected = "WhatsApp session is not connected. Cannot restart.";
    match line {
        "POST /whatsapp-sessions/17/restart" if !state.is_connected => {
            Some((200, json!({"success": false, "error": not_connected})))
        }
        "POST /instance/restart/shop" if !state.is_connected => Some((
            200,
            json!({"error": true, "message": "Error restarting: connection closed"}),
        )),
        "POST /api/sessions/shop/start" if state.shown_text != "STOPPED" => Some((
            422,
            json!({"message": "Session 'shop' is already started.", "statusCode": 422}),
        )),
        "POST /whatsapp-sessions/17/connect"
        | "POST /whatsapp-sessions/17/restart"
        | "POST /api/sessions/shop/start"
        | "POST /api/sessions/shop/restart"
        | "POST /instance/restart/shop"
        | "GET /instance/connect/shop" => None,
        _ => Some((404, json!({"message": "no such path"}))),
    }
}

/// Accepts a text, or returns the refusal of the gateway kind.
fn send(kind: Kind, asked: &Value, state: &mut State) -> (u16, Value) {
    if let Some(window) = &mut state.window {
        window.look();
        if window.left == 0 {
            state.too_many += 1;
            let wait = window.until - Timestamp::now().as_second();
            return (
                429,
                json!({"success": false, "message": "Too many requests", "retry_after": wait}),
            );
        }
        window.left -= 1;
    }
    if !state.is_connected {
        return refuse_without_session(kind);
    }
    let recipient = match kind {
        Kind::Wasender => "to",
        Kind::Waha => {
            assert_eq!(asked["session"], "shop");
            "chatId"
        }
        Kind::Evolution => "number",
    };
    let [to, text] = [recipient, "text"].map(|key| asked[key].as_str().unwrap().to_owned());
    let is_unknown = |number: &String| to.contains(number);
    if state.unknown.as_ref().is_some_and(is_unknown) {
        return refuse_unknown_number(kind, &to);
    }
    state.sent.push((to, text));
    match kind {
        Kind::Wasender => (
            200,
            json!({"success": true, "data": {"msgId": state.sent.len(), "status": "in_progress"}}),
        ),
        Kind::Waha => (
            201,
            json!({"id": {"_serialized": "true_1@c.us_3EB0"}, "timestamp": 1_800_000_000}),
        ),
        Kind::Evolution => (
            201,
            json!({"key": {"id": "3EB0", "fromMe": true}, "status": "PENDING"}),
        ),
    }
}

/// Returns the response to a text while the session is not connected.
fn refuse_without_session(kind: Kind) -> (u16, Value) {
    match kind {
        Kind::Wasender => (
            200,
            json!({"success": false, "error": "WhatsApp session is not connected."}),
        ),
        Kind::Waha => {
            let error = "Session status is not as expected. Try again later or restart the session";
            (
                422,
                json!({"error": error, "session": "shop", "status": "FAILED", "expected": ["WORKING"]}),
            )
        }
        Kind::Evolution => refuse_as_evolution(&json!(["Error: Connection Closed"])),
    }
}

/// Returns the response to a text for a number without a WhatsApp account.
fn refuse_unknown_number(kind: Kind, to: &str) -> (u16, Value) {
    match kind {
        Kind::Wasender => (
            422,
            json!({"success": false, "message": "The recipient has no WhatsApp account"}),
        ),
        Kind::Waha => (
            400,
            json!({"statusCode": 400, "error": "Bad Request", "message": "no such chat"}),
        ),
        Kind::Evolution => {
            refuse_as_evolution(&json!([{"jid": to, "exists": false, "number": to}]))
        }
    }
}

fn refuse_as_evolution(message: &Value) -> (u16, Value) {
    (
        400,
        json!({"status": 400, "error": "Bad Request", "response": {"message": message}}),
    )
}
