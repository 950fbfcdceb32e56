//! `flowgate try`: one signed form to the running server, through an encrypted flow screen by screen, and what becomes of
//! it, in plain words.
//!
//! The form goes the way of Meta's, over HTTP; the rest is asked through the admin socket, as any command does.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::phone::{Form, Phone, WalkError};
use super::reach::ask_server;
use super::sample::{self, Wish};
use super::secrets::random_hex;
use super::sender::{Answer, SendError, Sender};
use super::which_flow::{WhichFlow, choose};
use crate::admin::{AdminError, Filter, JobView, Question, StatusView, SubmissionView};
use crate::clock::{Clock, SystemClock, SystemEntropy};
use crate::config::Config;
use crate::domain::flow::{Encryption, Flow};
use crate::domain::ids::{BookingId, CalendarName, FlowName, LeadId};
use crate::intake::{InvalidKey, PublicKey};

/// How long the job may take before `try` goes home.
const PATIENCE: Duration = Duration::from_secs(15);

/// Days in which a free slot is looked for.
const DAYS_AHEAD: i64 = 365;

/// What to send.
#[derive(Debug, Clone, clap::Args)]
pub struct TryArgs {
    /// The flow to fill in; needed where the config has several
    #[arg(long, value_name = "NAME", value_parser = FlowName::new)]
    pub flow: Option<FlowName>,
    /// Fields to send, as a JSON object; the others are filled in
    #[arg(long, value_name = "JSON", value_parser = object)]
    pub data: Option<Map<String, Value>>,
}

/// Why nothing could be tried, or why it came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum TryError {
    /// No server runs on this config's data file.
    #[error("no server runs on {0}: start one with `flowgate serve`")]
    NotRunning(String),
    /// Which flow?
    #[error(transparent)]
    WhichFlow(#[from] WhichFlow),
    /// The calendar is full.
    #[error("calendar {0} has no free slot: `flowgate slots --calendar {0}` shows what is taken")]
    NoSlot(CalendarName),
    /// Nothing can be made up for a field.
    #[error(
        "nothing is made up that fits the pattern of field {name}, \"{pattern}\": give a value with --data '{example}'"
    )]
    NoSample {
        /// The field.
        name: String,
        /// What it must look like.
        pattern: String,
        /// How to type it.
        example: Value,
    },
    /// No key to seal requests for.
    #[error("the server's key for the flow can't be used: {0}")]
    FlowKey(#[from] InvalidKey),
    /// The walk through an encrypted flow.
    #[error(transparent)]
    Walk(#[from] WalkError),
    /// The server did not answer.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The server's socket did not answer.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// It answered, but with no success.
    #[error("the form was not accepted: {0}")]
    NotAccepted(String),
    /// The job goes on without us.
    #[error("job {0} has not come to its end within 15 s: `flowgate jobs show {0}` tells more")]
    Slow(u64),
    /// The terminal is gone, or the system has no threads left.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Sends a form and tells what becomes of it to `out`; with `json` as one object.
///
/// # Errors
/// [`TryError`].
pub fn run(config: &Config, args: &TryArgs, json: bool, out: &mut impl Write) -> Result<(), TryError> {
    let server = Admin { config };
    let status: StatusView = server.one(&Question::Status)?.ok_or_else(|| server.not_running())?;
    let listen = status.listen.ok_or_else(|| server.not_running())?;
    let flow = choose(config, args.flow.as_ref())?;
    let given = args.data.clone().unwrap_or_default();
    if let Some(field) = sample::lacking(&flow, &given) {
        let (name, pattern) = (field.name.clone(), field.pattern.as_ref().map_or("", |pattern| pattern.as_str()));
        let example = json!({ name.as_str(): "…" });
        return Err(TryError::NoSample { name, pattern: pattern.to_owned(), example });
    }
    let wish = flow.booking.as_ref().map(|rule| server.free_slot(&rule.calendar)).transpose()?;
    let token = format!("try-{}", random_hex(&SystemEntropy).chars().take(16).collect::<String>());
    let form = Form { flow: &flow, token: &token, given: &given, wish: wish.as_ref() };
    let clock = SystemClock::new();
    let told = (!json).then_some(&mut *out);
    let sign = |body: &str| server.signature(body);
    let answer = match flow.encryption {
        Encryption::Required => send_encrypted(listen, &sign, &server.public_key(&flow.name)?, &form, told)?,
        Encryption::None => send_plain(listen, &sign, &form, told)?,
    };
    if !answer.is_accepted() {
        let why = answer.complaint().map_or_else(|| format!("{} {}", answer.status, answer.body), str::to_owned);
        return Err(TryError::NotAccepted(why));
    }
    let submission = server.submission(&flow.name, &token)?;
    let job = server.finished_job(&submission, &clock)?;
    // Read again: the lead came with the end of the job.
    let submission = server.submission(&flow.name, &token)?;
    let booking: Option<Value> = match submission.booking_id {
        Some(id) => server.one(&Question::Booking { id })?,
        None => None,
    };
    if json {
        let answer = json!({ "status": answer.status, "body": answer.body });
        let whole = json!({ "answer": answer, "submission": submission, "job": job, "booking": booking });
        return Ok(writeln!(out, "{whole}")?);
    }
    tell(&flow, &submission, &job, booking.as_ref(), out)?;
    let made = [
        ("bookings cancel", submission.booking_id.map(BookingId::get)),
        ("leads close", submission.lead_id.map(LeadId::get)),
    ];
    let option = config.option();
    let undo = made.into_iter().filter_map(|(verb, id)| Some(format!("flowgate {option}{verb} {}", id?)));
    let undo: Vec<String> = undo.collect();
    if !undo.is_empty() {
        writeln!(out, "To undo it: {}", undo.join("; "))?;
    }
    Ok(())
}

/// What has become of it, for people.
fn tell(
    flow: &Flow,
    submission: &SubmissionView,
    job: &JobView,
    booking: Option<&Value>,
    out: &mut impl Write,
) -> Result<(), TryError> {
    writeln!(out, "Submission {}: on disk since {}", submission.id, submission.received_at)?;
    match (&job.last_error, job.state.as_str()) {
        (_, "done") => writeln!(out, "Job {}: done, attempt {}", job.id, job.attempts)?,
        (Some(error), state) => writeln!(out, "Job {}: {state} after attempt {}: {error}", job.id, job.attempts)?,
        (None, state) => writeln!(out, "Job {}: {state}", job.id)?,
    }
    match (submission.lead_id, &submission.agent, &flow.lead) {
        (Some(lead), Some(agent), _) => writeln!(out, "Lead {lead}: {agent} has it")?,
        (Some(lead), None, Some(rule)) => writeln!(
            out,
            "Lead {lead}: waits, as no agent of team {} is free. Add one: flowgate agents add NAME --team {}",
            rule.team, rule.team
        )?,
        _ => writeln!(out, "Lead: none, as the flow has no `lead`")?,
    }
    let text = |field: &str| booking.and_then(|row| row.get(field)).and_then(Value::as_str).unwrap_or_default();
    match (submission.booking_id, &flow.booking) {
        (Some(id), Some(rule)) => {
            writeln!(out, "Booking {id}: {}, {} at {}", rule.calendar, text("date"), text("time"))?;
        }
        _ => writeln!(out, "Booking: none, as the flow has no `booking`")?,
    }
    Ok(())
}

/// Has a body signed as Meta signs it.
type Sign<'a> = dyn Fn(&str) -> Result<String, AdminError> + 'a;

/// Sends the whole form as the sender of a plain flow does.
fn send_plain(
    to: SocketAddr,
    sign: &Sign<'_>,
    form: &Form<'_>,
    mut out: Option<&mut impl Write>,
) -> Result<Answer, TryError> {
    let Form { flow, token, given, wish } = form;
    let body = sample::form(flow, token, given, *wish);
    if let Some(out) = out.as_mut() {
        writeln!(out, "A form for flow {}, signed, to http://{to}{}:", flow.name, flow.path)?;
        writeln!(out, "  {body}")?;
    }
    let text = body.to_string();
    let signature = sign(&text)?;
    let clock = SystemClock::new();
    let sent = async { Sender::connect(to).await?.post(&flow.path, &signature, text.into_bytes()).await };
    let answer = runtime()?.block_on(sent)?;
    if let Some(out) = out.as_mut() {
        writeln!(out, "The answer, after {:.1} ms: {}", clock.elapsed().as_secs_f64() * 1000.0, answer.status)?;
        writeln!(out, "  {}", answer.body)?;
    }
    Ok(answer)
}

/// Goes through an encrypted flow screen by screen, as a phone does.
fn send_encrypted(
    to: SocketAddr,
    sign: &Sign<'_>,
    key: &PublicKey,
    form: &Form<'_>,
    mut out: Option<&mut impl Write>,
) -> Result<Answer, TryError> {
    if let Some(out) = out.as_mut() {
        let flow = form.flow;
        writeln!(out, "A walk through flow {}, encrypted and signed, to http://{to}{}:", flow.name, flow.path)?;
    }
    let walked = async { Phone { sender: Sender::connect(to).await?, sign, key }.walk(form, out).await };
    Ok(runtime()?.block_on(walked)?)
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// Reads `--data`.
fn object(text: &str) -> Result<Map<String, Value>, String> {
    match serde_json::from_str(text) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err("not a JSON object: write {\"field\":\"value\"}".to_owned()),
        Err(why) => Err(why.to_string()),
    }
}

/// Questions to the running server.
struct Admin<'a> {
    config: &'a Config,
}

impl Admin<'_> {
    fn not_running(&self) -> TryError {
        TryError::NotRunning(self.config.data.display().to_string())
    }

    /// The first row that `wanted` takes.
    fn find<T>(&self, question: &Question, wanted: impl Fn(Value) -> Option<T>) -> Result<Option<T>, TryError> {
        let mut found = None;
        let answered = ask_server(&self.config.data, question, &mut |row| {
            found = wanted(row);
            found.is_none()
        })?;
        answered.map(|()| found).ok_or_else(|| self.not_running())
    }

    fn one<T: serde::de::DeserializeOwned>(&self, question: &Question) -> Result<Option<T>, TryError> {
        self.find(question, |row| serde_json::from_value(row).ok())
    }

    /// The signature over a body. The server makes it: the secret is in its environment, not in this shell.
    fn signature(&self, body: &str) -> Result<String, AdminError> {
        let mut signature = None;
        let question = Question::Sign { body: body.to_owned() };
        ask_server(&self.config.data, &question, &mut |row| {
            signature = row.get("signature").and_then(Value::as_str).map(str::to_owned);
            true
        })?;
        signature.ok_or_else(AdminError::no_server)
    }

    fn public_key(&self, flow: &FlowName) -> Result<PublicKey, TryError> {
        let question = Question::PublicKey { flow: flow.clone() };
        let pem = self.find(&question, |row| row.get("public_key").and_then(Value::as_str).map(str::to_owned))?;
        Ok(PublicKey::read(&pem.unwrap_or_default())?)
    }

    fn free_slot(&self, calendar: &CalendarName) -> Result<Wish, TryError> {
        let today = SystemClock::new().now().to_jiff().to_zoned_datetime(jiff::tz::TimeZone::UTC).date();
        let last = today.saturating_add(jiff::Span::new().days(DAYS_AHEAD));
        let question = Question::Slots { calendar: Some(calendar.clone()), from: None, to: Some(last), limit: 0 };
        let free = |row: Value| {
            let number = |field: &str| row.get(field).and_then(Value::as_u64);
            let text = |field: &str| row.get(field).and_then(Value::as_str).map(str::to_owned);
            (number("taken")? < number("capacity")?).then_some(())?;
            Some(Wish { date: text("date")?, time: text("time")? })
        };
        self.find(&question, free)?.ok_or_else(|| TryError::NoSlot(calendar.clone()))
    }

    fn submission(&self, flow: &FlowName, token: &str) -> Result<SubmissionView, TryError> {
        let question = Question::Submissions(Filter { flow: Some(flow.clone()), ..Filter::default() });
        let ours = |row: Value| {
            let view: SubmissionView = serde_json::from_value(row).ok()?;
            (view.flow_token.as_deref() == Some(token)).then_some(view)
        };
        let missing = || TryError::NotAccepted(format!("it was answered with success, but {token} is not there"));
        self.find(&question, ours)?.ok_or_else(missing)
    }

    /// The submission's job, once it is over or waits for another attempt.
    fn finished_job(&self, submission: &SubmissionView, clock: &dyn Clock) -> Result<JobView, TryError> {
        let id = submission.job_id;
        let deadline = clock.elapsed() + PATIENCE;
        while clock.elapsed() < deadline {
            if let Some(job) = self.one::<JobView>(&Question::Job { id })?
                && (job.last_error.is_some() || !["scheduled", "running"].contains(&job.state.as_str()))
            {
                return Ok(job);
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
        Err(TryError::Slow(id.get()))
    }
}
