//! `flowgate try`: sends one signed form to the running server and shows the stored result. An
//! encrypted flow is completed screen by screen.
//!
//! The form goes to the server over HTTP, like a request from Meta. All other requests use the
//! admin socket.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::admin::{AdminError, AdminRequest, JobRow, ListFilter, StatusRow, SubmissionRow};
use crate::bootstrap::resolve::app_secrets::random_hex;
use crate::cli::connect::send_to_server;
use crate::cli::flow_arg::{FlowArgError, resolve_flow};
use crate::cli::flow_client::{FlowClient, FlowClientError, FormInput};
use crate::cli::meta_client::{FlowResponse, MetaClient, MetaClientError};
use crate::cli::sample_form::{self, SlotChoice};
use crate::clock::{Clock, SystemClock, SystemEntropy};
use crate::config::Config;
use crate::domain::flow::{EncryptionMode, Flow};
use crate::domain::ids::{BookingId, CalendarName, FlowName, LeadId};
use crate::intake::{InvalidKey, PublicKey};

/// Maximum time to wait for the job of the submission.
const JOB_TIMEOUT: Duration = Duration::from_secs(15);

/// Number of days in which the command searches for a free slot.
const DAYS_AHEAD: i64 = 365;

/// Arguments of `try`.
#[derive(Debug, Clone, clap::Args)]
pub struct TryArgs {
    /// Name of the flow to fill in. Required if the config has several flows
    #[arg(long, value_name = "NAME", value_parser = FlowName::new)]
    pub flow: Option<FlowName>,
    /// Fields to send, as a JSON object. Other fields get sample values. Default: all fields get
    /// sample values
    #[arg(long, value_name = "JSON", value_parser = parse_object)]
    pub data: Option<Map<String, Value>>,
}

/// Errors of `flowgate try`.
#[derive(Debug, thiserror::Error)]
pub enum TryError {
    /// No server runs on the data file of the config. The text is its path.
    #[error("no server runs for data file {0}: start one with `flowgate serve`")]
    NotRunning(String),
    /// The flow is unknown, or the command must name one.
    #[error(transparent)]
    FlowArg(#[from] FlowArgError),
    /// The calendar has no free slot.
    #[error("calendar {0} has no free slot: `flowgate slots --calendar {0}` shows what is taken")]
    NoSlot(CalendarName),
    /// No sample value can be generated for a field.
    #[error(
        "no sample value can be generated for the pattern of field {name}, \"{pattern}\": pass a value with --data '{example}'"
    )]
    NoSample {
        /// Field name.
        name: String,
        /// Pattern of the field.
        pattern: String,
        /// Example of `--data` for the field.
        example: Value,
    },
    /// The public key of the flow can't be used to encrypt requests.
    #[error("the server's key for the flow can't be used: {0}")]
    FlowKey(#[from] InvalidKey),
    /// The simulated client could not complete the encrypted flow.
    #[error(transparent)]
    FlowClient(#[from] FlowClientError),
    /// The HTTP listener sent no response.
    #[error(transparent)]
    Send(#[from] MetaClientError),
    /// The admin socket returned an error.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The server responded, but did not accept the form. The text is its response.
    #[error("the form was not accepted: {0}")]
    NotAccepted(String),
    /// The job did not finish within 15 s and continues. The value is the job ID.
    #[error("job {0} did not finish within 15 s: `flowgate jobs show {0}` shows its state")]
    JobNotFinished(u64),
    /// Standard output can't be written, or the system has no threads left.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Sends a form and writes its result to `output`. With `json`, the result is one JSON object.
///
/// # Errors
/// Returns [`TryError`] if the form can't be sent, is not accepted, or its job does not finish in
/// time.
pub fn run(
    config: &Config,
    args: &TryArgs,
    json: bool,
    output: &mut impl Write,
) -> Result<(), TryError> {
    let server = AdminConnection { config };
    let status: StatusRow = server
        .first_row(&AdminRequest::Status)?
        .ok_or_else(|| server.not_running())?;
    let listen = status.listen.ok_or_else(|| server.not_running())?;
    let flow = resolve_flow(config, args.flow.as_ref())?;
    let given = args.data.clone().unwrap_or_default();
    if let Some(field) = sample_form::first_unfillable_field(&flow, &given) {
        let (name, pattern) = (
            field.name.clone(),
            field
                .pattern
                .as_ref()
                .map_or("", |pattern| pattern.as_str()),
        );
        let example = json!({ name.as_str(): "…" });
        return Err(TryError::NoSample {
            name,
            pattern: pattern.to_owned(),
            example,
        });
    }
    let slot = flow
        .booking
        .as_ref()
        .map(|settings| server.free_slot(&settings.calendar))
        .transpose()?;
    let token = format!(
        "try-{}",
        random_hex(&SystemEntropy)
            .chars()
            .take(16)
            .collect::<String>()
    );
    let form = FormInput {
        flow: &flow,
        token: &token,
        given: &given,
        slot: slot.as_ref(),
    };
    let clock = SystemClock::new();
    let progress = (!json).then_some(&mut *output);
    let sign = |body: &str| server.signature(body);
    let response = match flow.encryption {
        EncryptionMode::Required => send_encrypted(
            listen,
            &sign,
            &server.public_key(&flow.name)?,
            &form,
            progress,
        )?,
        EncryptionMode::None => send_plain(listen, &sign, &form, progress)?,
    };
    if !response.is_accepted() {
        let why = response.error_message().map_or_else(
            || format!("{} {}", response.status, response.body),
            str::to_owned,
        );
        return Err(TryError::NotAccepted(why));
    }
    let submission = server.submission(&flow.name, &token)?;
    let job = server.finished_job(&submission, &clock)?;
    // The job may have assigned a lead, so the submission is read again.
    let submission = server.submission(&flow.name, &token)?;
    let booking: Option<Value> = match submission.booking_id {
        Some(id) => server.first_row(&AdminRequest::Booking { id })?,
        None => None,
    };
    if json {
        let response = json!({ "status": response.status, "body": response.body });
        let whole = json!({ "response": response, "submission": submission, "job": job, "booking": booking });
        return Ok(writeln!(output, "{whole}")?);
    }
    write_summary(&flow, &submission, &job, booking.as_ref(), output)?;
    let made = [
        ("bookings cancel", submission.booking_id.map(BookingId::get)),
        ("leads close", submission.lead_id.map(LeadId::get)),
    ];
    let option = config.config_option();
    let undo = made
        .into_iter()
        .filter_map(|(command, id)| Some(format!("flowgate {option}{command} {}", id?)));
    let undo: Vec<String> = undo.collect();
    if !undo.is_empty() {
        writeln!(output, "To undo it: {}", undo.join("; "))?;
    }
    Ok(())
}

/// Writes the result of the submission for people.
fn write_summary(
    flow: &Flow,
    submission: &SubmissionRow,
    job: &JobRow,
    booking: Option<&Value>,
    output: &mut impl Write,
) -> Result<(), TryError> {
    writeln!(
        output,
        "Submission {}: on disk since {}",
        submission.id, submission.received_at
    )?;
    match (&job.last_error, job.state.as_str()) {
        (_, "done") => writeln!(output, "Job {}: done, attempt {}", job.id, job.attempts)?,
        (Some(error), state) => writeln!(
            output,
            "Job {}: {state} after attempt {}: {error}",
            job.id, job.attempts
        )?,
        (None, state) => writeln!(output, "Job {}: {state}", job.id)?,
    }
    match (submission.lead_id, &submission.agent, &flow.lead) {
        (Some(lead), Some(agent), _) => writeln!(output, "Lead {lead}: {agent} is its agent")?,
        (Some(lead), None, Some(settings)) => writeln!(
            output,
            "Lead {lead}: waiting, because no agent of team {} is available. Add one: flowgate agents add NAME --team {}",
            settings.team, settings.team
        )?,
        _ => writeln!(output, "Lead: none, because the flow has no `lead`")?,
    }
    let text = |field: &str| {
        booking
            .and_then(|row| row.get(field))
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    match (submission.booking_id, &flow.booking) {
        (Some(id), Some(settings)) => {
            writeln!(
                output,
                "Booking {id}: {}, {} at {}",
                settings.calendar,
                text("date"),
                text("time")
            )?;
        }
        _ => writeln!(output, "Booking: none, because the flow has no `booking`")?,
    }
    Ok(())
}

/// Signs a body like Meta.
type SignFn<'a> = dyn Fn(&str) -> Result<String, AdminError> + 'a;

/// Sends the whole form in one request, to a plain flow.
fn send_plain(
    to: SocketAddr,
    sign: &SignFn<'_>,
    form: &FormInput<'_>,
    mut output: Option<&mut impl Write>,
) -> Result<FlowResponse, TryError> {
    let FormInput {
        flow,
        token,
        given,
        slot,
    } = form;
    let body = sample_form::sample_form(flow, token, given, *slot);
    if let Some(output) = output.as_mut() {
        writeln!(
            output,
            "Signed form for flow {}, sent to http://{to}{}:",
            flow.name, flow.path
        )?;
        writeln!(output, "  {body}")?;
    }
    let text = body.to_string();
    let signature = sign(&text)?;
    let clock = SystemClock::new();
    let client = MetaClient::default();
    let sent = client.post(to, &flow.path, &signature, text.into_bytes());
    let response = runtime()?.block_on(sent)?;
    if let Some(output) = output.as_mut() {
        writeln!(
            output,
            "Response after {:.1} ms: {}",
            clock.elapsed().as_secs_f64() * 1000.0,
            response.status
        )?;
        writeln!(output, "  {}", response.body)?;
    }
    Ok(response)
}

/// Completes an encrypted flow screen by screen.
fn send_encrypted(
    to: SocketAddr,
    sign: &SignFn<'_>,
    key: &PublicKey,
    form: &FormInput<'_>,
    mut output: Option<&mut impl Write>,
) -> Result<FlowResponse, TryError> {
    if let Some(output) = output.as_mut() {
        let flow = form.flow;
        writeln!(
            output,
            "Encrypted and signed form for flow {}, sent screen by screen to http://{to}{}:",
            flow.name, flow.path
        )?;
    }
    let client = FlowClient {
        client: MetaClient::default(),
        server: to,
        sign,
        public_key: key,
    };
    Ok(runtime()?.block_on(client.complete(form, output))?)
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

/// Parses `--data`.
fn parse_object(text: &str) -> Result<Map<String, Value>, String> {
    match serde_json::from_str(text) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err("not a JSON object: write {\"field\":\"value\"}".to_owned()),
        Err(why) => Err(why.to_string()),
    }
}

/// Connection to the admin socket of the running server.
struct AdminConnection<'a> {
    config: &'a Config,
}

impl AdminConnection<'_> {
    fn not_running(&self) -> TryError {
        TryError::NotRunning(self.config.data.display().to_string())
    }

    /// Returns the first row for which `wanted` returns a value.
    fn find_row<T>(
        &self,
        request: &AdminRequest,
        wanted: impl Fn(Value) -> Option<T>,
    ) -> Result<Option<T>, TryError> {
        let mut found = None;
        let answered = send_to_server(&self.config.data, request, &mut |row| {
            found = wanted(row);
            found.is_none()
        })?;
        answered.map(|()| found).ok_or_else(|| self.not_running())
    }

    fn first_row<T: serde::de::DeserializeOwned>(
        &self,
        request: &AdminRequest,
    ) -> Result<Option<T>, TryError> {
        self.find_row(request, |row| serde_json::from_value(row).ok())
    }

    /// Returns the signature of a body. The server signs, because the app secret may exist only in
    /// its environment.
    fn signature(&self, body: &str) -> Result<String, AdminError> {
        let mut signature = None;
        let request = AdminRequest::SignBody {
            body: body.to_owned(),
        };
        send_to_server(&self.config.data, &request, &mut |row| {
            signature = row
                .get("signature")
                .and_then(Value::as_str)
                .map(str::to_owned);
            true
        })?;
        signature.ok_or_else(AdminError::server_required)
    }

    fn public_key(&self, flow: &FlowName) -> Result<PublicKey, TryError> {
        let request = AdminRequest::FlowPublicKey { flow: flow.clone() };
        let pem = self.find_row(&request, |row| {
            row.get("public_key")
                .and_then(Value::as_str)
                .map(str::to_owned)
        })?;
        Ok(PublicKey::parse(&pem.unwrap_or_default())?)
    }

    fn free_slot(&self, calendar: &CalendarName) -> Result<SlotChoice, TryError> {
        let today = SystemClock::new()
            .now()
            .to_jiff()
            .to_zoned_datetime(jiff::tz::TimeZone::UTC)
            .date();
        let last = today.saturating_add(jiff::Span::new().days(DAYS_AHEAD));
        let request = AdminRequest::Slots {
            calendar: Some(calendar.clone()),
            from: None,
            to: Some(last),
            limit: 0,
        };
        let free = |row: Value| {
            let number = |field: &str| row.get(field).and_then(Value::as_u64);
            let text = |field: &str| row.get(field).and_then(Value::as_str).map(str::to_owned);
            (number("taken")? < number("capacity")?).then_some(())?;
            Some(SlotChoice {
                date: text("date")?,
                time: text("time")?,
            })
        };
        self.find_row(&request, free)?
            .ok_or_else(|| TryError::NoSlot(calendar.clone()))
    }

    fn submission(&self, flow: &FlowName, token: &str) -> Result<SubmissionRow, TryError> {
        let request = AdminRequest::Submissions(ListFilter {
            flow: Some(flow.clone()),
            ..ListFilter::default()
        });
        let ours = |row: Value| {
            let view: SubmissionRow = serde_json::from_value(row).ok()?;
            (view.flow_token.as_deref() == Some(token)).then_some(view)
        };
        let missing = || {
            TryError::NotAccepted(format!(
                "the response was a success, but flow_token {token} is not stored"
            ))
        };
        self.find_row(&request, ours)?.ok_or_else(missing)
    }

    /// Waits for the job of the submission to finish or to fail an attempt. Returns the job.
    fn finished_job(
        &self,
        submission: &SubmissionRow,
        clock: &dyn Clock,
    ) -> Result<JobRow, TryError> {
        let id = submission.job_id;
        let deadline = clock.elapsed() + JOB_TIMEOUT;
        while clock.elapsed() < deadline {
            if let Some(job) = self.first_row::<JobRow>(&AdminRequest::Job { id })?
                && (job.last_error.is_some()
                    || !["scheduled", "running"].contains(&job.state.as_str()))
            {
                return Ok(job);
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
        Err(TryError::JobNotFinished(id.get()))
    }
}
