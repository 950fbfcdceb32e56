//! PEM texts: what stands between `-----BEGIN` and `-----END`, read into and written from memory that is wiped.
//!
//! As lenient as the tools that people copy keys with: lines of any length and end, also `\n` as two characters, which is
//! what environment files and dashboards make of a line end. What is in a block is `super::private_key`'s.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// Characters of a line (RFC 7468, section 2), and the bytes that they stand for.
const LINE_CHARACTERS: usize = 64;
const LINE_BYTES: usize = 48;

/// One block, not decoded yet.
pub(super) struct Block<'t> {
    label: &'t str,
    body: &'t str,
}

impl<'t> Block<'t> {
    /// The first block of a text.
    pub(super) fn first_of(text: &'t str) -> Option<Self> {
        let (_, rest) = text.split_once("-----BEGIN ")?;
        let (label, rest) = rest.split_once("-----")?;
        // Labels end up in messages. One that both ends agree on is no part of the key.
        let (body, end) = rest.split_once("-----END ")?;
        end.strip_prefix(label)?.starts_with("-----").then_some(Self { label, body })
    }

    /// What it says it holds: `PRIVATE KEY`.
    pub(super) const fn label(&self) -> &'t str {
        self.label
    }

    /// A header, as old OpenSSL writes them (RFC 1421): `DEK-Info`.
    pub(super) fn header(&self, name: &str) -> Option<&'t str> {
        let mut headers = self.lines().filter_map(|line| line.split_once(':'));
        headers.find_map(|(key, value)| (key.trim() == name).then_some(value.trim()))
    }

    /// What is in it. Nothing where that is no base64.
    pub(super) fn content(&self) -> Option<Zeroizing<Vec<u8>>> {
        // All of the room at once: a buffer that grows would leave copies behind.
        let mut text = Zeroizing::new(Vec::with_capacity(self.body.len()));
        for line in self.lines().filter(|line| !is_header(line)) {
            text.extend(line.bytes().filter(|byte| !byte.is_ascii_whitespace()));
        }
        let mut content = Zeroizing::new(vec![0; base64::decoded_len_estimate(text.len())]);
        let length = STANDARD.decode_slice(&*text, &mut content).ok()?;
        content.truncate(length);
        Some(content)
    }

    fn lines(&self) -> impl Iterator<Item = &'t str> {
        self.body.split('\n').flat_map(|line| line.split("\\n"))
    }
}

/// A text with one block. Wiped, as what is in it may be a secret.
pub(super) fn text_of(label: &str, content: &[u8]) -> Zeroizing<String> {
    // More than base64, line ends and the two lines around it take, so that it never grows.
    let mut text = Zeroizing::new(String::with_capacity(content.len() * 3 / 2 + 2 * label.len() + 64));
    text.extend(["-----BEGIN ", label, "-----\n"]);
    let mut line = Zeroizing::new([0; LINE_CHARACTERS]);
    for bytes in content.chunks(LINE_BYTES) {
        // 48 bytes are 64 characters: they always fit.
        let length = STANDARD.encode_slice(bytes, &mut *line).unwrap_or_default();
        text.extend(line.iter().take(length).copied().map(char::from));
        text.push('\n');
    }
    text.extend(["-----END ", label, "-----\n"]);
    text
}

/// Base64 has no colon.
fn is_header(line: &str) -> bool {
    line.contains(':')
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADED: &str = "Bag Attributes\n-----BEGIN OLD KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: DES,00FF\n\naGVs\nbG8=\n-----END OLD KEY-----\n";

    fn content(text: &str) -> Option<Vec<u8>> {
        Block::first_of(text)?.content().map(|content| content.to_vec())
    }

    #[test]
    fn a_block_is_its_label_its_headers_and_its_content() {
        let block = Block::first_of(HEADED).unwrap();
        assert_eq!((block.label(), block.header("DEK-Info")), ("OLD KEY", Some("DES,00FF")));
        assert_eq!(block.header("Content-Domain"), None);
        assert_eq!(&*block.content().unwrap(), b"hello");
    }

    #[test]
    fn it_is_the_same_however_its_lines_end() {
        let plain = HEADED.replace("\n\naGVs", "\naGVs");
        for text in [HEADED.replace('\n', "\r\n"), HEADED.replace('\n', "\\n"), plain] {
            assert_eq!(content(&text).as_deref(), Some(&b"hello"[..]), "{text}");
            assert_eq!(Block::first_of(&text).unwrap().header("DEK-Info"), Some("DES,00FF"), "{text}");
        }
        assert_eq!(content("-----BEGIN A----- aGVs bG8= -----END A-----").as_deref(), Some(&b"hello"[..]));
    }

    #[test]
    fn what_has_no_end_or_no_label_is_no_block() {
        for text in ["", "aGVsbG8=", "-----BEGIN A-----\naGVs", "-----BEGIN A-----\naGVs\n-----END B-----"] {
            assert!(Block::first_of(text).is_none(), "{text}");
        }
        // The dashes behind the label got lost: what comes next is the key itself.
        let torn = "-----BEGIN PRIVATE KEY\nMIIEvAIBADANBgkqhkiG\n-----END PRIVATE KEY-----";
        assert!(Block::first_of(torn).is_none() && Block::first_of(&torn.replace('\n', " ")).is_none());
        assert_eq!(content("-----BEGIN A-----\naGV*\n-----END A-----"), None);
    }

    #[test]
    fn what_is_written_has_lines_of_64_and_reads_the_same() {
        for length in [0, 1, 47, 48, 49, 96, 1218] {
            let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(length).collect();
            let text = text_of("PRIVATE KEY", &bytes);
            assert_eq!(content(&text).unwrap(), bytes, "{length}");
            assert!(text.lines().all(|line| line.len() <= 64) && text.ends_with("-----END PRIVATE KEY-----\n"));
            let room = length * 3 / 2 + 2 * "PRIVATE KEY".len() + 64;
            assert!(text.len() <= room, "{length}: it grew");
        }
    }
}
