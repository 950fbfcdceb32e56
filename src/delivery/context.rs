//! Holds the dependencies that all destination workers share.

use std::sync::Arc;

use super::eligibility::ProcessStart;
use super::shared_rate_limit::SharedLimiters;
use super::suspect_deliveries::SuspectDeliveries;
use crate::clock::{Clock, Entropy};
use crate::net::HttpClients;
use crate::store::Store;

/// Dependencies that all workers share.
#[derive(Clone)]
pub(crate) struct DeliveryContext {
    pub(crate) store: Store,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) clients: HttpClients,
    pub(crate) limiters: SharedLimiters,
    pub(crate) process_start: ProcessStart,
    pub(crate) suspects: SuspectDeliveries,
}
