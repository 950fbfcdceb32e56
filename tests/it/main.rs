//! User stories that run the real executable, one file per story, and checks of the source
//! structure.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a story that can't go on fails; clippy's own exemption for tests does not reach their helpers"
)]

mod support;

// Acknowledged means durable: after ten kills under load, each acknowledged form is stored once.
mod ack_survives_kill;
// `init` writes a config, secrets and hardened units with which a server serves.
mod setup_of_new_machine;
// The shipped snippets of Caddy and nginx, with the real programs.
mod reverse_proxies;
// `doctor` names each problem of a setup, and `status --check` fails on a warning.
mod doctor;
// systemd learns when the server is ready, reloads, stops, and that its writer works.
mod service_manager;
// A server that used the app's own secret does not start without it.
mod missing_app_secret;
// `flowgate bench` measures this machine and leaves nothing behind.
mod bench_for_owners;
// A new version checks config and data file before it replaces the old one.
mod upgrade_check;
// The Debian package is installed, upgraded and purged.
mod packages;
// A customer who saw an agent gets this agent, on any screen.
mod shown_agent_gets_lead;
// A delivery that becomes a dead letter causes one alert.
mod dead_letter_alerts;
// A customer is forgotten: in all lists, in waiting deliveries, and also after a kill.
mod forget_customer;
// An owner brings agents, leads and appointments from another program.
mod data_import;
// Bookings in a calendar program, under secret addresses.
mod calendar_feeds;
// Data for spreadsheets and programs: each answer has a column, and no cell is a formula.
mod data_export;
// Gates for the structure of the source: imports, names, shape of files.
mod architecture;
// One token for all recipients of a broadcast: each customer has one submission and one lead, even
// after copies.
mod shared_flow_token;
// Chat formats and templates: texts of customers stay text, events without a valid template are
// stored, secret URLs are hidden.
mod payload_templates;
// The book in `docs/`: links, commands, generated pages.
mod book;
// Guarantees for scripts: fields, exit codes, hints.
mod command_line;
// A destination that hangs or fails slows down neither other destinations nor the intake.
mod failing_destination_isolated;
// A form that arrives at its endpoint and by webhook, with or without a token, is one submission.
mod same_form_by_endpoint_and_webhook;
// A job whose flow is missing becomes a complete dead letter and runs when the flow is back.
mod dead_letter_retry;
// Deliveries to a removed destination can be discarded, one or all.
mod discarded_deliveries;
// A damaged row blocks only the items of a webhook body that need it, and only messages to
// customers.
mod damaged_row_isolated;
// Receivers that hang, drip, flood, send invalid responses, refuse, redirect, ask for a delay or
// want no more events.
mod misbehaving_receivers;
// An admin tests a destination that writes to people. Nobody gets a message without a request.
mod whatsapp_destination_test;
// Secrets rotate; destinations are removed, added again and moved. No delivery is lost.
mod destination_config_changes;
// A damaged row affects only what needs it. The file of a stopped server is checked and compacted.
mod data_file_check_and_compact;
// Backups off the machine, restored elsewhere: burnt machines, failing stores, kills.
mod continuous_backup;
// Two histories of the data never mix in one backup, and retention keeps what a restore needs.
mod backup_histories;
// A second machine follows the first one and takes over.
mod follow_and_promote;
// Copies of the data file beside the server, restored files, and kills in the middle of both.
mod local_copies;
// `flowgate demo` passes its own verification.
mod demo;
// Invites, resets and the audit log, with and without a server.
mod accounts;
mod dashboard;
// An abandoned draft causes one event with its answers.
mod abandoned_draft;
// SIGTERM under load loses nothing, and the server exits in less than ten seconds.
mod drain_loses_nothing;
// Encrypted flows as phones use them, and every vector.
mod encrypted_flow;
// `examples/clinic` works from a new clone, and `flows check` reports what would fail.
mod example_clinic;
// Next and previous screens, refreshes, texts, agents, and full slots.
mod encrypted_screens;
// Decrypted requests that the config can't serve, and forms that look like error notifications.
mod unserviceable_requests;
// Error notifications of phones, events of Meta's monitoring, and the endpoint's own health.
mod flow_health;
// Destinations get events, are paused and tested. Refused deliveries are corrected.
mod destination_lifecycle;
// Envelopes of all kinds, and floods of them.
mod envelope_variants;
// At the limit of the write queue: 503, and accepted forms are not affected.
mod full_write_queue_answers_503;
// Slow, large, odd and broken senders each get a clear response.
mod http_limits;
// Two hundred customers want three places. Three of them get a place.
mod slot_never_overbooked;
// Ten kills during deliveries: unrecorded deliveries are sent again with the same ID and a new
// signature.
mod kills_during_delivery;
// The public key of a flow, uploaded to Meta and compared with Meta's copy.
mod public_key_upload_and_check;
// Alerts for a flow or a destination in trouble.
mod admin_api;
mod alerts_for_operators;
// E-mails through a mail server that delays, refuses, sends wrong replies or has an untrusted
// certificate.
mod smtp_destination;
// Destinations that are reachable only through a proxy, and proxies that fail.
mod destination_proxy;
// A thousand leads over equal agents; weights, limits, waiting leads, known customers.
mod lead_assignment;
// Leads close by a signed request of a CRM, by their age and in bulk.
mod lead_closing;
// The dashboard, the alert rules and the metrics page fit the served metrics; the log level.
mod monitoring;
// With the feature `otel`, a collector receives spans.
#[cfg(feature = "otel")]
mod traces;
// With a low limit of open files, commands and forms still work.
mod open_file_limit;
// Messages from unofficial gateways: authentication, duplicates, texts as forms.
mod gateway_deliveries;
mod gateway_messages;
// Sessions of unofficial gateways that disconnect, report a wrong state, fall silent or need a
// person.
mod gateway_session_monitor;
// A hundred customers at once want ten places of an encrypted flow.
mod concurrent_encrypted_bookings;
// A new clone: `serve`, `try`, `status`.
mod first_steps;
// If nothing can be booked, customers see a text that explains it.
mod no_free_slot;
// One process per data file; commands on the file of a stopped server; a separate exit code for
// damage.
mod one_process_per_data_file;
// A destination is down for an hour and twenty thousand deliveries wait. All are delivered when it
// is up.
mod destination_outage;
// A time that can't be booked is refused with a text.
mod unbookable_slot_refused;
// The responses of the plain flow, byte by byte.
mod plain_flow_responses;
// Refused requests and their reasons, in the log and in `status`.
mod refusals_reported;
// Reloads of keys, secrets, flows and mistakes, without a lost request.
mod reload;
// An upstream behind an encrypted flow: its requests, and the effects of its responses.
mod upstream_behind_flow;
// The same encrypted request gets the same response bytes again.
mod response_cache;
// An upstream that fails: the fallback, the circuit breaker, reloads, kills.
mod upstream_failures;
// Ten restarts behind a socket that stays open: no request is broken, refused or lost.
mod restart_behind_socket;
// A customer with a new number stays with their agent. Waiting messages go to the new number.
mod customer_number_change;
// Fifty copies at once make one submission.
mod same_token_at_once;
// A token without a valid signature of Meta closes the form.
mod flow_token_signatures;
// The token of a WhatsApp destination expires. The admin sees the next command until all messages
// are sent.
mod expired_access_token;
// Messages through the Cloud API: sent once, stopped by errors of the account, followed by their
// statuses.
mod whatsapp_messages;
// Forms are found by customer, number, name and ID; bookings by day.
mod find_customer;
// Meta's batches, vector by vector.
mod webhook_batches;
