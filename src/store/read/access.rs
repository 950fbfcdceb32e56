//! Reads accounts and sign-ins.

use crate::domain::access::account::{Account, SignIn};
use crate::domain::access::secret::AccessSecret;
use crate::domain::ids::AccountName;

use super::Snapshot;
use crate::store::StoreResult;
use crate::store::engine::{Hash, Rows};
use crate::store::rows::schema::{ACCOUNTS, SIGN_INS};
use crate::store::rows::secrets::secret_key;

impl Snapshot {
    /// Returns an account. Returns `None` if no account has this name.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn account(&self, name: &AccountName) -> StoreResult<Option<Account>> {
        self.get_row(ACCOUNTS, name.as_str())
    }

    /// Lists all accounts by name.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn accounts(&self) -> StoreResult<Vec<Account>> {
        self.with_read_txn(|txn| {
            let table = txn.open(ACCOUNTS)?;
            table.all_rows()?.map(|row| row?.value()).collect()
        })
    }

    /// Returns the sign-in with this secret. The whole hash is compared in constant time.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn sign_in(&self, secret: &AccessSecret) -> StoreResult<Option<SignIn>> {
        let sign_in: Option<SignIn> = self.get_row(SIGN_INS, &secret_key(&secret.hash()))?;
        Ok(sign_in.filter(|sign_in| secret.has_hash(&sign_in.secret_hash)))
    }

    /// Lists all sign-ins with their keys.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn sign_ins(&self) -> StoreResult<Vec<(Hash, SignIn)>> {
        self.with_read_txn(|txn| {
            let mut sign_ins = Vec::new();
            for row in txn.open(SIGN_INS)?.all_rows()? {
                let row = row?;
                sign_ins.push((*row.key(), row.value()?));
            }
            Ok(sign_ins)
        })
    }
}
