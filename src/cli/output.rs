//! Output of a command whose reader may leave before the command has finished (`| head`).

use std::io::{self, Write};

/// A writer that keeps its first error until [`Output::finish`] and discards all later bytes.
///
/// Writing to it never fails. A command therefore does all of its work and returns its own result. Without this, it would
/// stop at its first line for a reader that has left, and the error of the output would hide the result.
#[derive(Debug)]
pub struct Output<W> {
    inner: W,
    failed: io::Result<()>,
}

impl<W: Write> Output<W> {
    /// Output to `inner`.
    pub const fn new(inner: W) -> Self {
        Self { inner, failed: Ok(()) }
    }

    /// Returns `true` if all bytes so far were written.
    pub const fn is_open(&self) -> bool {
        self.failed.is_ok()
    }

    /// Flushes the output.
    ///
    /// # Errors
    /// The first error of the writer, [`io::ErrorKind::BrokenPipe`] included.
    pub fn finish(mut self) -> io::Result<()> {
        self.failed?;
        self.inner.flush()
    }
}

impl<W: Write> Write for Output<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.failed.is_ok() {
            self.failed = self.inner.write_all(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.failed.is_ok() {
            self.failed = self.inner.flush();
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A pipe whose reader leaves after so many writes.
    pub struct Leaves(pub usize);

    impl Write for Leaves {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(1).ok_or(io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_writer_that_fails_is_told_at_the_end_and_interrupts_nothing() {
        let mut out = Output::new(Leaves(1));
        out.write_all(b"a").unwrap();
        assert!(out.is_open());
        for _ in 0..2 {
            out.write_all(b"b").unwrap();
            assert!(!out.is_open());
        }
        out.flush().unwrap();
        assert_eq!(out.finish().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert!(Output::new(Vec::new()).finish().is_ok());
    }
}
