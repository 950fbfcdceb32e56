//! Writes the output of a command whose reader may close the pipe before the command has finished
//! (`| head`).

use std::io::{self, Write};

/// A writer that stores its first error until [`DeferredErrorWriter::finish`] and discards all
/// later bytes.
///
/// Writing to it never fails. A command therefore does all of its work and returns its own result.
/// Without this, the command would stop at its first line after the reader has closed the pipe. The
/// error of the output would then hide the result.
#[derive(Debug)]
pub struct DeferredErrorWriter<W> {
    inner: W,
    first_error: io::Result<()>,
}

impl<W: Write> DeferredErrorWriter<W> {
    /// Creates a writer over `inner`.
    pub const fn new(inner: W) -> Self {
        Self {
            inner,
            first_error: Ok(()),
        }
    }

    /// Returns `true` if all bytes so far were written.
    pub const fn is_open(&self) -> bool {
        self.first_error.is_ok()
    }

    /// Flushes the output.
    ///
    /// # Errors
    /// The first error of the writer, [`io::ErrorKind::BrokenPipe`] included.
    pub fn finish(mut self) -> io::Result<()> {
        self.first_error?;
        self.inner.flush()
    }
}

impl<W: Write> Write for DeferredErrorWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.first_error.is_ok() {
            self.first_error = self.inner.write_all(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.first_error.is_ok() {
            self.first_error = self.inner.flush();
        }
        Ok(())
    }
}

/// A pipe that its reader closes after this number of writes.
#[cfg(test)]
pub(super) struct ClosingPipe(pub(super) usize);

#[cfg(test)]
impl Write for ClosingPipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(1).ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_write_error_is_returned_at_finish() {
        let mut writer = DeferredErrorWriter::new(ClosingPipe(1));
        writer.write_all(b"a").unwrap();
        assert!(writer.is_open());
        for _ in 0..2 {
            writer.write_all(b"b").unwrap();
            assert!(!writer.is_open());
        }
        writer.flush().unwrap();
        let error = writer.finish().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        assert!(DeferredErrorWriter::new(Vec::new()).finish().is_ok());
    }
}
