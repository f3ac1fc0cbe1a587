//! Lines of a file, one at a time, in bounded memory.
//!
//! A line longer than [`LINE_BYTES_MAX`] is an error as soon as its first byte too many is seen: an endless
//! line is never held in memory, and never read to its end.

use std::io::{self, BufRead, Read};

use super::{LINE_BYTES_MAX, error::Fault};

/// CR LF.
const LINE_END_BYTES_MAX: usize = 2;

pub(super) struct Lines {
    source: Box<dyn BufRead + Send>,
    buffer: Vec<u8>,
}

impl Lines {
    pub(super) fn new(source: Box<dyn BufRead + Send>) -> Self {
        Self { source, buffer: Vec::new() }
    }

    /// The next line without its line end (LF, CR LF, or the end of the file); `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>, Fault> {
        self.buffer.clear();
        if self.fill().map_err(Fault::Unreadable)? == 0 {
            return Ok(None);
        }
        let line = self.buffer.strip_suffix(b"\n").unwrap_or(&self.buffer);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > LINE_BYTES_MAX {
            return Err(Fault::LineTooLong);
        }
        Ok(Some(line))
    }

    fn fill(&mut self) -> io::Result<usize> {
        let bytes_max = (LINE_BYTES_MAX + LINE_END_BYTES_MAX) as u64;
        (&mut self.source).take(bytes_max).read_until(b'\n', &mut self.buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::BufReader;

    fn lines(bytes: Vec<u8>) -> Lines {
        Lines::new(Box::new(io::Cursor::new(bytes)))
    }

    #[test]
    fn a_line_ends_with_lf_or_cr_lf_or_the_file() {
        let mut lines = lines(b"a\r\nb\n\nc\r".to_vec());
        for expected in ["a", "b", "", "c"] {
            assert_eq!(lines.next().unwrap().unwrap(), expected.as_bytes());
        }
        assert!(lines.next().unwrap().is_none());
    }

    #[test]
    fn the_longest_line_passes_with_every_line_end_and_one_byte_more_does_not() {
        for end in ["", "\n", "\r\n", "\nnext", "\r\nnext"] {
            let longest = format!("{}{end}", "x".repeat(LINE_BYTES_MAX));
            assert_eq!(lines(longest.into()).next().unwrap().unwrap().len(), LINE_BYTES_MAX, "{end:?}");
            let longer = format!("{}{end}", "x".repeat(LINE_BYTES_MAX + 1));
            assert!(matches!(lines(longer.into()).next(), Err(Fault::LineTooLong)), "{end:?}");
        }
    }

    #[test]
    fn an_endless_line_is_refused_without_being_held() {
        let mut lines = Lines::new(Box::new(BufReader::new(io::repeat(b'7'))));
        assert!(matches!(lines.next(), Err(Fault::LineTooLong)));
        assert!(lines.buffer.capacity() <= 4 * LINE_BYTES_MAX, "{}", lines.buffer.capacity());
    }
}
