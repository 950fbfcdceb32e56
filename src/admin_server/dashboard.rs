//! Puts the pages of the dashboard at the admin address.
//!
//! See [`super::tcp_server`] for the requests that reach a page.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::BodyExt;
use hyper::Request;
use hyper::http::request::Parts;

use super::response::AdminResponse;
use super::tcp_server::{DashboardHandler, Mount};
use crate::dashboard::{Dashboard, Refusal};
use crate::domain::access::Principal;

impl DashboardHandler for Dashboard {
    fn authenticate(&self, head: Parts) -> BoxFuture<'static, Result<Principal, Refusal>> {
        let dashboard = self.clone();
        Box::pin(async move { dashboard.authenticate(head).await })
    }

    fn respond(&self, request: Request<Bytes>) -> BoxFuture<'static, AdminResponse> {
        let dashboard = self.clone();
        Box::pin(async move {
            let response = dashboard.respond(request).await;
            response.map(|body| body.map_err(|never| match never {}).boxed_unsync())
        })
    }
}

impl Mount {
    /// Mounts a dashboard at its own URL.
    #[must_use]
    pub fn of(dashboard: Dashboard) -> Self {
        Self {
            base: dashboard.base_path().to_owned(),
            host: Some(dashboard.host().to_owned()),
            dashboard: Some(Arc::new(dashboard)),
        }
    }
}
