//! Tests the job system step by step, with a real store and a manual clock. Only the writer has a
//! thread, except in the tests of the thread pool.

mod dispatcher;
mod handler;
mod pool;
mod retention_task;
mod support;
mod worker;
