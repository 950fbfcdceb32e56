//! Tests of requests to the dashboard, from the bytes of a form to the response.

mod accounts;
mod browser;
mod requests;
