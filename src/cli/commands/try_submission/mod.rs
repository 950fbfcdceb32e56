//! `flowgate try`: sends one signed form to the running server and shows the stored result. An
//! encrypted flow is completed screen by screen.
//!
//! The form goes to the server over HTTP, like a request from Meta. All other requests use the
//! admin socket.

mod admin_connection;
mod error;

use std::io::{self, Write};
use std::net::SocketAddr;

use serde_json::{Map, Value, json};

use crate::admin::{AdminError, AdminQuery, BookingRow, JobRow, StatusRow, SubmissionRow};
use crate::bootstrap::resolve::app_secrets::random_hex;
use crate::cli::flow_arg::resolve_flow;
use crate::cli::flow_client::{FlowClient, FormInput};
use crate::cli::meta_client::{FlowResponse, MetaClient};
use crate::cli::sample_form;
use crate::clock::{Clock, SystemClock, SystemEntropy};
use crate::config::Config;
use crate::domain::flow::{EncryptionMode, Flow};
use crate::domain::ids::FlowName;
use crate::intake::PublicKey;
use admin_connection::AdminConnection;

pub(crate) use error::TryError;

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
    let status: Option<StatusRow> = server.first_row(AdminQuery::Status)?;
    let listen = status
        .and_then(|status| status.listen)
        .ok_or_else(|| server.not_running())?;
    let flow = resolve_flow(config, args.flow.as_ref())?;
    let given = args.data.clone().unwrap_or_default();
    check_fields(&flow, &given)?;
    let booking = flow.booking.as_ref();
    let slot = booking
        .map(|settings| server.free_slot(&settings.calendar))
        .transpose()?;
    let token: String = random_hex(&SystemEntropy).chars().take(16).collect();
    let token = format!("try-{token}");
    let form = FormInput {
        flow: &flow,
        token: &token,
        given: &given,
        slot: slot.as_ref(),
    };
    let progress = (!json).then_some(&mut *output);
    let sign = |body: &str| server.signature(body);
    let response = match flow.encryption {
        EncryptionMode::Required => {
            let key = server.public_key(&flow.name)?;
            send_encrypted(listen, &sign, &key, &form, progress)?
        }
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
    let job = server.finished_job(&submission)?;
    // The job may have assigned a lead, so the submission is read again.
    let submission = server.submission(&flow.name, &token)?;
    let booking: Option<BookingRow> = match submission.booking_id {
        Some(id) => server.first_row(AdminQuery::Booking { id })?,
        None => None,
    };
    if json {
        let response = json!({ "status": response.status, "body": response.body });
        let whole = json!({ "response": response, "submission": submission, "job": job, "booking": booking });
        return Ok(writeln!(output, "{whole}")?);
    }
    write_summary(&flow, &submission, &job, booking.as_ref(), output)?;
    write_undo(&config.config_option(), &submission, output)
}

/// Returns an error if the form has a field without a value in `given` for which no sample value
/// can be generated.
fn check_fields(flow: &Flow, given: &Map<String, Value>) -> Result<(), TryError> {
    let Some(field) = sample_form::first_unfillable_field(flow, given) else {
        return Ok(());
    };
    let pattern = field.pattern.as_ref();
    Err(TryError::NoSample {
        name: field.name.clone(),
        pattern: pattern.map_or("", |pattern| pattern.as_str()).to_owned(),
        example: json!({ field.name.as_str(): "…" }),
    })
}

/// Writes the result of the submission for people.
fn write_summary(
    flow: &Flow,
    submission: &SubmissionRow,
    job: &JobRow,
    booking: Option<&BookingRow>,
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
    match (booking, &flow.booking) {
        (Some(booking), Some(settings)) => writeln!(
            output,
            "Booking {}: {}, {} at {}",
            booking.id, settings.calendar, booking.date, booking.time
        )?,
        _ => writeln!(output, "Booking: none, because the flow has no `booking`")?,
    }
    Ok(())
}

/// Writes the commands that cancel the booking and close the lead of the submission. `option` names
/// the config.
fn write_undo(
    option: &str,
    submission: &SubmissionRow,
    output: &mut impl Write,
) -> Result<(), TryError> {
    let (booking, lead) = (submission.booking_id, submission.lead_id);
    let booking = booking.map(|id| format!("flowgate {option}bookings cancel {id}"));
    let lead = lead.map(|id| format!("flowgate {option}leads close {id}"));
    let undo: Vec<String> = booking.into_iter().chain(lead).collect();
    if !undo.is_empty() {
        writeln!(output, "To undo it: {}", undo.join("; "))?;
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
    let flow = form.flow;
    let body = sample_form::sample_form(flow, form.token, form.given, form.slot);
    if let Some(output) = output.as_mut() {
        let Flow { name, path, .. } = flow;
        writeln!(
            output,
            "Signed form for flow {name}, sent to http://{to}{path}:"
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
        let duration_ms = clock.elapsed().as_secs_f64() * 1000.0;
        let FlowResponse { status, body } = &response;
        writeln!(output, "Response after {duration_ms:.1} ms: {status}")?;
        writeln!(output, "  {body}")?;
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
