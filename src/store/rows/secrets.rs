//! Keys of rows that are found by a secret: calendar feeds and sign-ins.

use crate::store::engine::Hash;

/// Returns the key of a row: the first half of the hash of its secret.
pub fn secret_key(secret_hash: &[u8; 32]) -> Hash {
    let mut key = [0; 16];
    for (to, from) in key.iter_mut().zip(secret_hash) {
        *to = *from;
    }
    key
}
