//! A mail server as stories want it: it speaks what a client of ours needs of SMTP (RFC 5321), STARTTLS and AUTH included, and
//! says something else wherever a story has something else in mind. What it was told is recorded.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::{ServerConnection, StreamOwned};

use super::eventually;
use super::graph::localhost;

/// The one who may send.
pub const USER: &str = "flowgate@shop.example";
/// Their password.
pub const PASSWORD: &str = "hush hush, it's mail";

/// Stands for a client that has connected, and is greeted.
pub const GREETING: &str = "GREETING";

/// How its connections are kept from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// Not at all.
    Never,
    /// From `STARTTLS` on.
    Starttls,
    /// From the beginning.
    Implicit,
}

/// One line that a client said.
#[derive(Clone, Debug)]
pub struct Line {
    /// As it came, without its end. `.` stands for a whole mail.
    pub text: String,
    /// Whether nobody else could read it.
    pub is_private: bool,
    /// How many lines with this verb had come before, over all connections.
    pub before: usize,
}

impl Line {
    /// `MAIL`, `RCPT` …
    pub fn verb(&self) -> String {
        self.text.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase()
    }
}

/// One mail that it took.
#[derive(Clone, Debug)]
pub struct Taken {
    /// Lines of its head, unfolded.
    pub head: Vec<String>,
    /// Its text, decoded.
    pub text: String,
}

impl Taken {
    fn read(mail: &str) -> Self {
        let (head, text) = mail.split_once("\r\n\r\n").unwrap_or((mail, ""));
        let head: Vec<String> = head.replace("\r\n ", " ").split("\r\n").map(str::to_owned).collect();
        let encoding = head.iter().find_map(|line| line.strip_prefix("Content-Transfer-Encoding: "));
        let text = match encoding {
            Some("quoted-printable") => unquoted(text),
            Some("base64") => String::from_utf8(STANDARD.decode(text.replace("\r\n", "")).unwrap()).unwrap(),
            _ => text.to_owned(),
        };
        Self { head, text }
    }

    /// A header's value, which must be there once.
    pub fn header(&self, name: &str) -> &str {
        let start = format!("{name}: ");
        let found: Vec<&str> = self.head.iter().filter_map(|line| line.strip_prefix(&start)).collect();
        assert_eq!(found.len(), 1, "{name}: {:?}", self.head);
        found[0]
    }
}

/// What it says to a line instead of what it would; an empty text: it closes.
pub type Says = Box<dyn Fn(&Line) -> Option<String> + Send + Sync>;

/// The server. Its threads end with the tests.
pub struct MailServer {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    tls: Tls,
    says: Mutex<Arc<Says>>,
    lines: Mutex<Vec<Line>>,
    taken: Mutex<Vec<Taken>>,
}

impl MailServer {
    /// One that takes all mails of [`USER`].
    pub fn well(tls: Tls) -> Self {
        Self::saying(tls, |_| None)
    }

    /// One that says what `says` gives it to say.
    pub fn saying(tls: Tls, says: impl Fn(&Line) -> Option<String> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            tls,
            says: Mutex::new(Arc::new(Box::new(says))),
            lines: Mutex::default(),
            taken: Mutex::default(),
        });
        let own = Arc::clone(&shared);
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&own);
                // A client that leaves, or trusts nobody, is what some stories are about.
                std::thread::spawn(move || shared.serve(socket));
            }
        });
        Self { address, shared }
    }

    /// Says what `says` gives it to say from now on.
    pub fn becomes(&self, says: impl Fn(&Line) -> Option<String> + Send + Sync + 'static) {
        *self.shared.says.lock().unwrap() = Arc::new(Box::new(says));
    }

    /// Its table in the config, as `name`: at `localhost`, with a user. `more`: further keys.
    pub fn table(&self, name: &str, more: &str) -> String {
        let tls = match self.shared.tls {
            Tls::Never => "none",
            Tls::Starttls => "starttls",
            Tls::Implicit => "tls",
        };
        format!(
            "\n[destinations.{name}]\nkind = \"smtp\"\nhost = \"localhost\"\nport = {}\ntls = \"{tls}\"\nallow_private = true\n\
             user = \"{USER}\"\npassword = \"text:{PASSWORD}\"\nfrom = \"Flowgate <flowgate@shop.example>\"\n\
             to = [\"Ann <ann@shop.example>\", \"bob@shop.example\"]\n{more}\n",
            self.address.port()
        )
    }

    /// Its port.
    pub const fn port(&self) -> u16 {
        self.address.port()
    }

    /// All that it was told so far.
    pub fn lines(&self) -> Vec<Line> {
        self.shared.lines.lock().unwrap().iter().filter(|line| line.text != GREETING).cloned().collect()
    }

    /// How often it was told this.
    pub fn times(&self, verb: &str) -> usize {
        self.lines().iter().filter(|line| line.verb() == verb).count()
    }

    /// The mails that it took so far.
    pub fn taken(&self) -> Vec<Taken> {
        self.shared.taken.lock().unwrap().clone()
    }

    /// Waits until it has taken so many mails.
    pub fn until_taken(&self, mails: usize) -> Vec<Taken> {
        eventually(&format!("the mail server took {mails} mails"), || (self.taken().len() >= mails).then_some(()));
        self.taken()
    }
}

impl Shared {
    fn serve(&self, socket: TcpStream) -> io::Result<()> {
        socket.set_nodelay(true)?;
        let private = |socket| StreamOwned::new(ServerConnection::new(localhost()).unwrap(), socket);
        match self.tls {
            Tls::Implicit => self.converse(private(socket), true, true).map(|_| ()),
            Tls::Never => self.converse(socket, true, false).map(|_| ()),
            Tls::Starttls => {
                if self.converse(socket.try_clone()?, true, false)? {
                    self.converse(private(socket), false, true)?;
                }
                Ok(())
            }
        }
    }

    /// Answers until the client leaves; true where TLS begins.
    fn converse(&self, stream: impl Read + Write, greets: bool, is_private: bool) -> io::Result<bool> {
        let mut stream = BufReader::new(stream);
        if greets {
            let greeting = Line { text: GREETING.to_owned(), is_private, before: self.before(GREETING) };
            self.lines.lock().unwrap().push(greeting.clone());
            if !self.say(&mut stream, &greeting, "220 mail.test ESMTP ready")? {
                return Ok(false);
            }
        }
        loop {
            let line = self.hear(&mut stream, is_private)?;
            let usual = self.usual(&line);
            if !self.say(&mut stream, &line, &usual)? {
                return Ok(false);
            }
            let said = self.reply(&line, &usual);
            match line.verb().as_str() {
                "STARTTLS" if said.starts_with("220") => return Ok(true),
                "QUIT" => return Ok(false),
                "AUTH" if said.starts_with("334") => {
                    let user = self.hear(&mut stream, is_private)?.text;
                    stream.get_mut().write_all(format!("334 {}\r\n", STANDARD.encode("Password:")).as_bytes())?;
                    stream.get_mut().flush()?;
                    let password = self.hear(&mut stream, is_private)?.text;
                    let fits = (user, password) == (STANDARD.encode(USER), STANDARD.encode(PASSWORD));
                    let said = if fits { "235 2.7.0 welcome\r\n" } else { "535 5.7.8 no\r\n" };
                    stream.get_mut().write_all(said.as_bytes())?;
                    stream.get_mut().flush()?;
                }
                "DATA" if said.starts_with("354") => {
                    let mail = whole_mail(&mut stream)?;
                    let end = Line { text: ".".to_owned(), is_private, before: self.before(".") };
                    self.lines.lock().unwrap().push(end.clone());
                    if self.reply(&end, "250 2.0.0 queued as 77").starts_with("250") {
                        // Recorded before it is said.
                        self.taken.lock().unwrap().push(mail);
                    }
                    if !self.say(&mut stream, &end, "250 2.0.0 queued as 77")? {
                        return Ok(false);
                    }
                }
                _ => {}
            }
        }
    }

    fn hear(&self, stream: &mut impl BufRead, is_private: bool) -> io::Result<Line> {
        let mut text = String::new();
        if stream.read_line(&mut text)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut line = Line { text: text.trim_end_matches(['\r', '\n']).to_owned(), is_private, before: 0 };
        line.before = self.before(&line.verb());
        self.lines.lock().unwrap().push(line.clone());
        Ok(line)
    }

    fn before(&self, verb: &str) -> usize {
        self.lines.lock().unwrap().iter().filter(|line| line.verb() == verb).count()
    }

    fn reply(&self, line: &Line, usual: &str) -> String {
        let says = Arc::clone(&self.says.lock().unwrap());
        says(line).unwrap_or_else(|| usual.to_owned())
    }

    /// False: it closes instead.
    fn say(&self, stream: &mut BufReader<impl Read + Write>, line: &Line, usual: &str) -> io::Result<bool> {
        let said = self.reply(line, usual);
        if said.is_empty() {
            return Ok(false);
        }
        stream.get_mut().write_all(format!("{said}\r\n").as_bytes())?;
        stream.get_mut().flush()?;
        Ok(true)
    }

    fn usual(&self, line: &Line) -> String {
        match line.verb().as_str() {
            "EHLO" if self.tls == Tls::Starttls && !line.is_private => {
                "250-mail.test\r\n250-SIZE 1000000\r\n250 STARTTLS".to_owned()
            }
            "EHLO" => "250-mail.test\r\n250 AUTH PLAIN LOGIN".to_owned(),
            "STARTTLS" => "220 2.0.0 go on".to_owned(),
            "AUTH" if line.text == "AUTH LOGIN" => format!("334 {}", STANDARD.encode("Username:")),
            "AUTH" if line.text == format!("AUTH PLAIN {}", STANDARD.encode(format!("\0{USER}\0{PASSWORD}"))) => {
                "235 2.7.0 welcome".to_owned()
            }
            "AUTH" => "535 5.7.8 bad credentials".to_owned(),
            "DATA" => "354 go on".to_owned(),
            "QUIT" => "221 2.0.0 bye".to_owned(),
            "MAIL" | "RCPT" => "250 2.1.0 fine".to_owned(),
            _ => "500 5.5.1 what?".to_owned(),
        }
    }
}

/// Reads a mail up to the line that is a single dot; a dot in front of others is one too many (RFC 5321, 4.5.2).
fn whole_mail(stream: &mut impl BufRead) -> io::Result<Taken> {
    let mut mail = String::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line == ".\r\n" {
            break;
        }
        mail.push_str(line.strip_prefix('.').unwrap_or(&line));
    }
    Ok(Taken::read(&mail))
}

/// Of a text in quoted-printable (RFC 2045, 6.7).
fn unquoted(text: &str) -> String {
    let mut parts = text.split('=');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        if let Some(rest) = part.strip_prefix("\r\n") {
            bytes.extend_from_slice(rest.as_bytes());
        } else {
            bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
            bytes.extend_from_slice(&part.as_bytes()[2..]);
        }
    }
    String::from_utf8(bytes).unwrap()
}
