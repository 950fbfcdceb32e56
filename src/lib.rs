//! flowgate stands between Meta and a small business: it takes WhatsApp Flow submissions, says yes only to what is on
//! disk, takes each once, and carries it to a booked slot and an agent's lead.
//!
//! ```text
//! bytes → http → intake → store (one writer) ══ commit ══> answer        admin socket / command line → store
//!                           ▲      └─ due → work::feeder → work::worker ─┐
//!                           └────────────── outcome ◄────────────────────┘
//! ```
//!
//! | module | what it decides | may use |
//! |---|---|---|
//! | [`domain`] | every rule, pure | nothing of the others |
//! | [`clock`] | nothing: it tells time and chance | domain |
//! | [`current`] | nothing: it shows the newest of what a reload changes | nothing of the others |
//! | [`guard`] | nothing: panics end there | nothing of the others |
//! | [`config`] | what a config may say | domain |
//! | [`intake`] | whether bytes are a submission from the sender we trust | domain, config |
//! | [`signing`] | how what we send is signed | domain |
//! | [`store`] | what is on disk, in which order | domain, clock, current, guard |
//! | [`outgoing`] | how far a request to the outside may go | domain |
//! | [`http`] | limits, deadlines, status codes | intake, store, domain, clock, config, current, signing, gateways |
//! | [`tasks`] | that one task at a time runs for each name of the config | nothing of the others |
//! | [`work`] | when a job runs, and that its failure stays its own | store, domain, clock, config, intake, current, guard |
//! | [`courier`] | which deliveries are under way, and what follows from their answers | store, domain, clock, config, outgoing, signing, guard, tasks |
//! | [`gateways`] | when an unofficial gateway is asked and called | store, domain, clock, config, outgoing, tasks |
//! | [`admin`] | what an operator may ask of a running server or of a file | store, domain, clock, config, intake, current, gateways |
//! | [`telemetry`] | how logs and figures look | domain |
//! | [`cli`] | argv, exit codes, how answers look on a terminal | all of them |

pub mod admin;
pub mod cli;
pub mod clock;
pub mod config;
pub mod courier;
pub mod current;
pub mod domain;
pub mod gateways;
pub mod guard;
pub mod http;
pub mod intake;
pub mod outgoing;
pub mod signing;
pub mod store;
pub mod tasks;
pub mod telemetry;
pub mod work;
