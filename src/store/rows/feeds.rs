//! Keys of the rows of calendar feeds.

use crate::store::engine::Hash;

/// Returns the key of a feed: the first half of the hash of its secret.
pub fn feed_key(secret_hash: &[u8; 32]) -> Hash {
    let mut key = [0; 16];
    for (to, from) in key.iter_mut().zip(secret_hash) {
        *to = *from;
    }
    key
}
