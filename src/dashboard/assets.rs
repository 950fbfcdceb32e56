//! The embedded files of the pages: stylesheets, script and icon of the site.
//!
//! The address of a file has the hash of its content, so that browsers store the file until it
//! changes.

use std::sync::LazyLock;

use sha2::{Digest, Sha256};

use crate::domain::hex::to_hex;

/// Number of characters of the hash in an address.
const HASH_CHARACTERS: usize = 12;

/// Embedded file.
#[derive(Debug)]
pub(super) struct Asset {
    pub(super) name: &'static str,
    pub(super) media_type: &'static str,
    pub(super) content: &'static [u8],
}

const ASSETS: [Asset; 4] = [
    Asset {
        name: "dashboard.css",
        media_type: "text/css; charset=utf-8",
        content: include_bytes!("assets/dashboard.css"),
    },
    Asset {
        name: "dark.css",
        media_type: "text/css; charset=utf-8",
        content: include_bytes!("assets/dark.css"),
    },
    Asset {
        name: "dashboard.js",
        media_type: "text/javascript; charset=utf-8",
        content: include_bytes!("assets/dashboard.js"),
    },
    Asset {
        name: "favicon.svg",
        media_type: "image/svg+xml",
        content: include_bytes!("assets/favicon.svg"),
    },
];

static HASHES: LazyLock<[String; ASSETS.len()]> = LazyLock::new(|| {
    ASSETS.map(|asset| {
        let mut hash = to_hex(&Sha256::digest(asset.content));
        hash.truncate(HASH_CHARACTERS);
        hash
    })
});

/// Returns the file with a name.
pub(super) fn find_asset(name: &str) -> Option<&'static Asset> {
    static TABLE: [Asset; ASSETS.len()] = ASSETS;
    TABLE.iter().find(|asset| asset.name == name)
}

/// Returns the hash in the address of a file. The hash is empty for an unknown name.
pub(super) fn hash_of(name: &str) -> &'static str {
    let at = ASSETS.iter().position(|asset| asset.name == name);
    at.and_then(|at| HASHES.get(at)).map_or("", String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Maximum size of all files and of a page, uncompressed.
    const FIRST_PAINT_BYTES_MAX: usize = 100_000;
    /// Part of that for the page itself.
    const PAGE_BYTES: usize = 30_000;

    #[test]
    fn first_paint_is_small() {
        let bytes: usize = ASSETS.iter().map(|asset| asset.content.len()).sum();
        assert!(bytes < FIRST_PAINT_BYTES_MAX - PAGE_BYTES, "{bytes}");
    }

    #[test]
    fn names_have_a_content_and_a_hash() {
        for asset in ASSETS {
            assert_eq!(find_asset(asset.name).unwrap().content, asset.content);
            assert_eq!(hash_of(asset.name).len(), HASH_CHARACTERS);
        }
        assert!(find_asset("passwd").is_none());
        assert_eq!(hash_of("passwd"), "");
    }

    #[test]
    fn files_name_nothing_from_elsewhere() {
        for asset in ASSETS {
            let text = std::str::from_utf8(asset.content).unwrap();
            let text = text.replace("http://www.w3.org/2000/svg", "");
            for foreign in ["http:", "https:", "@import", "url("] {
                assert!(!text.contains(foreign), "{} has {foreign}", asset.name);
            }
        }
    }
}
