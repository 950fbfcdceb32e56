//! Parses and writes PEM texts: the content between `-----BEGIN` and `-----END`. The memory for it
//! is wiped.
//!
//! The parser is as lenient as the tools that people copy keys with. Lines may have any length and
//! any line ending. The two characters `\n` also count as a line ending, because environment files
//! and dashboards write them.
//!
//! See `super::private_key` for the content of a block.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// Length of a line (RFC 7468, section 2) in characters, and in bytes of content.
const LINE_CHARACTERS: usize = 64;
const LINE_BYTES: usize = 48;

/// PEM block that is not decoded yet.
pub(super) struct PemBlock<'t> {
    label: &'t str,
    body: &'t str,
}

impl<'t> PemBlock<'t> {
    /// Returns the first block of a text. Returns `None` if there is no complete block.
    pub(super) fn first_of(text: &'t str) -> Option<Self> {
        let (_, rest) = text.split_once("-----BEGIN ")?;
        let (label, rest) = rest.split_once("-----")?;
        // Error messages show the label. A label that the BEGIN line and the END line share is not
        // a part of the key.
        let (body, end) = rest.split_once("-----END ")?;
        end.strip_prefix(label)?
            .starts_with("-----")
            .then_some(Self { label, body })
    }

    /// Returns the label, such as `PRIVATE KEY`.
    pub(super) const fn label(&self) -> &'t str {
        self.label
    }

    /// Returns a header of old OpenSSL (RFC 1421), such as `DEK-Info`.
    pub(super) fn header(&self, name: &str) -> Option<&'t str> {
        let mut headers = self.lines().filter_map(|line| line.split_once(':'));
        headers.find_map(|(key, value)| (key.trim() == name).then_some(value.trim()))
    }

    /// Decodes the content. Returns `None` if the content is not base64.
    pub(super) fn content(&self) -> Option<Zeroizing<Vec<u8>>> {
        // The full capacity is allocated at once. A growing buffer would leave copies of the key in
        // memory.
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

/// Writes a text with one block. The text is wiped when it is dropped, because it may be a secret.
pub(super) fn encode(label: &str, content: &[u8]) -> Zeroizing<String> {
    // The capacity exceeds the base64 text, its line breaks and the two delimiter lines, so the
    // text never grows.
    let mut text = Zeroizing::new(String::with_capacity(
        content.len() * 3 / 2 + 2 * label.len() + 64,
    ));
    text.extend(["-----BEGIN ", label, "-----\n"]);
    let mut line = Zeroizing::new([0; LINE_CHARACTERS]);
    for bytes in content.chunks(LINE_BYTES) {
        // 48 bytes are 64 characters, so the line always fits.
        let length = STANDARD.encode_slice(bytes, &mut *line).unwrap_or_default();
        text.extend(line.iter().take(length).copied().map(char::from));
        text.push('\n');
    }
    text.extend(["-----END ", label, "-----\n"]);
    text
}

/// Returns `true` if a line is a header. Base64 has no colon.
fn is_header(line: &str) -> bool {
    line.contains(':')
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADED: &str = "Bag Attributes\n-----BEGIN OLD KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: DES,00FF\n\naGVs\nbG8=\n-----END OLD KEY-----\n";

    fn content(text: &str) -> Option<Vec<u8>> {
        PemBlock::first_of(text)?
            .content()
            .map(|content| content.to_vec())
    }

    #[test]
    fn block_has_label_headers_and_content() {
        let block = PemBlock::first_of(HEADED).unwrap();
        assert_eq!(
            (block.label(), block.header("DEK-Info")),
            ("OLD KEY", Some("DES,00FF"))
        );
        assert_eq!(block.header("Content-Domain"), None);
        assert_eq!(&*block.content().unwrap(), b"hello");
    }

    #[test]
    fn line_ends_do_not_matter() {
        let plain = HEADED.replace("\n\naGVs", "\naGVs");
        for text in [
            HEADED.replace('\n', "\r\n"),
            HEADED.replace('\n', "\\n"),
            plain,
        ] {
            assert_eq!(content(&text).as_deref(), Some(&b"hello"[..]), "{text}");
            let block = PemBlock::first_of(&text).unwrap();
            assert_eq!(block.header("DEK-Info"), Some("DES,00FF"), "{text}");
        }
        let one_line = content("-----BEGIN A----- aGVs bG8= -----END A-----");
        assert_eq!(one_line.as_deref(), Some(&b"hello"[..]));
    }

    #[test]
    fn incomplete_block_is_rejected() {
        for text in [
            "",
            "aGVsbG8=",
            "-----BEGIN A-----\naGVs",
            "-----BEGIN A-----\naGVs\n-----END B-----",
        ] {
            assert!(PemBlock::first_of(text).is_none(), "{text}");
        }
        // The dashes after the label are missing, so the next text is the key itself.
        let torn = "-----BEGIN PRIVATE KEY\nMIIEvAIBADANBgkqhkiG\n-----END PRIVATE KEY-----";
        assert!(
            PemBlock::first_of(torn).is_none()
                && PemBlock::first_of(&torn.replace('\n', " ")).is_none()
        );
        assert_eq!(content("-----BEGIN A-----\naGV*\n-----END A-----"), None);
    }

    #[test]
    fn encoded_block_round_trips() {
        for length in [0, 1, 47, 48, 49, 96, 1218] {
            let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(length).collect();
            let text = encode("PRIVATE KEY", &bytes);
            assert_eq!(content(&text).unwrap(), bytes, "{length}");
            assert!(
                text.lines().all(|line| line.len() <= 64)
                    && text.ends_with("-----END PRIVATE KEY-----\n")
            );
            let capacity = length * 3 / 2 + 2 * "PRIVATE KEY".len() + 64;
            assert!(text.len() <= capacity, "{length}: it grew");
        }
    }
}
