//! Records in the file that its server has the secret of the Meta app.

use crate::store::StoreResult;
use crate::store::data_file::APP_SECRET;
use crate::store::engine::Rows;
use crate::store::writer::write_context::{Transaction, WriteContext};

/// Records in the file that its server verifies signatures with the secret of the Meta app. The
/// record is permanent. Without it, a server that lost the secret would start with a development
/// secret and refuse all requests of Meta. No part of the secret is stored. See
/// [`crate::store::StoreOptions::refuses_known_secret`].
#[derive(Debug)]
pub struct RecordAppSecret;

impl Transaction for RecordAppSecret {
    type Outcome = ();

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<()> {
        if !ctx.tables.meta.contains(APP_SECRET)? {
            ctx.tables.meta.put_bytes(APP_SECRET, b"known")?;
        }
        Ok(())
    }
}
