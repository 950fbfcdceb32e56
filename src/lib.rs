//! flowgate receives WhatsApp Flow submissions. It acknowledges only what is on disk, accepts each
//! submission once and processes it to a booked slot, an assigned lead and delivered events.
//!
//! ```text
//! bytes → http → intake → store (one writer) ══ commit ══▶ response
//!                           ▲      └─ due ─▶ jobs (dispatcher ─▶ worker) ─┐
//!                           ├──────────────── outcome ◀───────────────────┘
//!                           │      └─ due ─▶ delivery (one worker per destination) ─┐
//!                           └──────────────── outcome ◀─────────────────────────────┘
//! admin socket, admin address → admin_server → admin → store
//! browser → admin_server → dashboard → admin
//! ```
//!
//! | module | responsibility | may use |
//! |---|---|---|
//! | [`domain`] | rules of the domain, pure | none |
//! | [`clock`] | time and randomness | domain |
//! | [`reloadable`] | values that a reload replaces | none |
//! | [`mod@panic`] | catching panics at thread borders | none |
//! | [`tasks`] | one running task per configured name | none |
//! | [`config`] | reading and checking the config | domain |
//! | [`intake`] | authentication and parsing of request bytes | domain, config |
//! | [`webhook_signature`] | signatures of Standard Webhooks | domain |
//! | [`store`] | everything on disk; the writer | domain, clock, reloadable, panic |
//! | [`net`] | outgoing connections, address policy, TLS, SMTP | domain, clock |
//! | [`http`] | limits, deadlines, routes, status codes | intake, store, domain, clock, config, net, reloadable, webhook_signature, gateways |
//! | [`jobs`] | when a job runs and what it does | store, domain, clock, config, intake, reloadable, panic |
//! | [`delivery`] | sending deliveries and recording their attempts | store, domain, clock, config, net, webhook_signature, panic, tasks |
//! | [`gateways`] | probing and repairing the sessions of gateways | store, domain, clock, config, net, tasks |
//! | [`backup`] | copies of the data, backups off the machine, restored files | store, domain, clock, config, net |
//! | [`admin`] | requests of operators to a server or a data file | store, domain, clock, config, intake, reloadable, gateways, backup |
//! | [`dashboard`] | pages for people: design, texts, forms | admin, domain |
//! | [`admin_server`] | the admin API over HTTP, on the socket and the admin address; carries the pages | dashboard, admin, http, config, domain, clock |
//! | [`telemetry`] | log, its filter, and metrics recorder | domain |
//! | [`bootstrap`] | building, reloading and stopping the server | all of them |
//! | [`cli`] | commands, exit codes, output formats | all of them |

pub mod admin;
pub mod admin_server;
pub mod backup;
pub mod bootstrap;
pub mod cli;
pub mod clock;
pub mod config;
pub mod dashboard;
pub mod delivery;
pub mod domain;
pub mod gateways;
pub mod http;
pub mod intake;
pub mod jobs;
pub mod net;
pub mod panic;
pub mod reloadable;
pub mod store;
pub mod tasks;
pub mod telemetry;
pub mod webhook_signature;
