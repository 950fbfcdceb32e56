//! Stories against the real executable, one file for each; and the shape of the source.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a story that can't go on fails; clippy's own exemption for tests does not reach their helpers"
)]

mod support;

// Yes means durable: ten kills under load, and what was acknowledged is there, once.
mod ack_survives_kill;
// A server that had the app's own secret does not start without it.
mod app_secret_goes_missing;
// Whoever was shown an agent gets that agent, wherever it was.
mod agent_who_was_shown;
// A delivery that dies is told to those who run the server, once.
mod alerts;
// Who may use whom, as `src/lib.rs` draws it.
mod architecture;
// One token for all recipients of a broadcast: each customer has a submission and a lead, whatever comes again.
mod broadcast_token;
// Chats and templates: what customers write stays text, what does not fit is kept, no URL that is a secret is shown.
mod bodies_of_ones_own;
// What scripts lean on: fields, exit codes, hints.
mod command_line;
// A destination that hangs or fails slows down neither another one nor the intake.
mod broken_beside_well;
// A form by its own path and by webhook, token or none: one submission.
mod both_doors;
// A job whose flow is gone waits as a dead letter, whole, until the flow is back.
mod dead_letter_runs_again;
// What waits for a destination that is gone can be given up, one or all.
mod deliveries_given_up;
// A row that can't be read keeps only what needs it out of a webhook's body, and only customers' messages from being sent.
mod damaged_row;
// Whatever receivers do to a message: hang, drip, flood, lie, refuse, redirect, ask for quiet, want no more.
mod deliveries_meet_the_world;
// An admin tests a destination that writes to people: nobody gets a message unasked.
mod destination_is_tested;
// Secrets rotate, destinations go, come back and move, and nothing is lost over it.
mod destinations_change;
// A row that can't be read costs what needs it; a stopped server's file is checked and compacted.
mod damaged_rows;
// `flowgate demo` weathers its storm.
mod demo;
// A form that its user has left is told of once, with its answers.
mod draft_is_left;
// SIGTERM under load loses nothing and takes less than ten seconds.
mod drain_loses_nothing;
// Encrypted flows as phones see them, and every vector.
mod encrypted_flow;
// `examples/clinic` works from a fresh clone, and `flows check` says what would not.
mod example_clinic;
// Which screen comes next and before, choices, texts, agents, what is full.
mod encrypted_screens;
// Requests that were opened and do not fit, and forms that look like error notifications.
mod does_not_fit;
// Complaints of phones, events of Meta's monitoring, and the endpoint's own figures.
mod flow_health;
// Destinations are told, paused, tested; what they refused is corrected.
mod destinations_are_told;
// Envelopes of all kinds, and floods of them.
mod envelopes_of_all_kinds;
// At the bound: 503, and nothing accepted is touched.
mod full_queue_says_so;
// Slow, big, odd and broken senders each get their own clear answer.
mod http_limits;
// Two hundred want three places: three get them.
mod last_slot_goes_to_three;
// Killed while it delivers, ten times: sent again under the same id, signed anew.
mod kills_while_delivering;
// The public half of a key, uploaded to Meta and compared with what Meta holds.
mod keys_at_meta;
// Those who run the server are told when a flow or a destination is in trouble.
mod told_of_trouble;
// E-mails through a mail server that greets, refuses, lies and is slow to trust.
mod mails;
// Those who may be reached only through a proxy, and proxies that lead nowhere.
mod through_a_proxy;
// A thousand leads over equal agents; weights, limits, waiting, sticky customers.
mod leads_are_shared;
// Where the system allows few open files, commands and forms still get through.
mod few_open_files;
// What unofficial gateways bring: proof, once, texts as forms.
mod gateway_messages;
mod gateway_texts;
// Sessions of unofficial gateways that drop, lie, fall silent and need somebody.
mod gateways_are_looked_after;
// A hundred users at once on ten places of an encrypted flow.
mod hundred_users;
// A fresh clone, `serve`, `try`, `status`.
mod newcomer;
// Where nothing can be booked any more, users read so.
mod nothing_is_free;
// One process on one file; the command line on a stopped one's; damage has its own exit code.
mod one_process_one_file;
// A destination is down for an hour and twenty thousand deliveries wait: all are taken once it is up.
mod outage;
// A time that can't be had is refused with a text.
mod past_slot_is_refused;
// The plain flow, to the byte.
mod plain_answers_are_exact;
// What was refused, and why: in the log and in `status`.
mod refusals_are_told;
// Reloads: keys, secrets, flows, and mistakes, without a lost request.
mod reload;
// A program of the owner behind an encrypted flow: what it is asked, and what becomes of its answers.
mod program_behind_a_flow;
// The same encrypted request gets the very same bytes again.
mod same_bytes;
// Where it fails: the fallback, the breaker, reloads, kills.
mod program_fails;
// Ten restarts behind a socket that stays open: no request is broken off, refused or lost.
mod restart_behind_socket;
// A customer with a new number keeps their agent, and what waits for them goes to the new one.
mod new_number;
// Fifty copies at once make one submission.
mod same_token_at_once;
// Tokens that Meta did not sign close the form.
mod signed_tokens;
// The token of a WhatsApp destination ends, and the admin is told what to type until all is sent.
mod token_ends;
// Messages through the Cloud API: sent once, stopped by what stops all, followed by their statuses.
mod whatsapp_messages;
// Meta's batches, vector by vector.
mod webhook_batches;
