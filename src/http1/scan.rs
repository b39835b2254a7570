//! The slow path of a head: looking for its end when it arrives in pieces, and naming the rule
//! that a refused one broke.

use super::Error;
use super::fields;
use super::head::HeadLimits;
use super::target;
use crate::limits::METHOD_SIZE_MAX;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Request,
    Response,
}

/// Where the search for the empty line stands.
///
/// Its errors depend only on the bytes up to the one that caused them, so they come at the same
/// byte however the head is split.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Scan {
    /// First byte of the line that has no end yet.
    line_start: usize,
    /// Bytes searched for LF.
    pub(super) searched: usize,
    /// Whole lines, the start line included.
    line_count: usize,
}

impl Scan {
    pub(super) fn is_fresh(&self) -> bool {
        self.searched == 0
    }

    /// The size of the head once its empty line is there.
    pub(super) fn advance(
        &mut self,
        buf: &[u8],
        limits: &HeadLimits,
        side: Side,
    ) -> Result<Option<usize>, Error> {
        if self.searched > buf.len() {
            *self = Scan::default();
        }
        if self.line_count == 0 {
            if side == Side::Request && buf == b"\r" {
                return Ok(None);
            }
            let skips = side == Side::Request && buf.starts_with(b"\r\n");
            self.line_start = if skips { 2 } else { 0 };
            self.searched = self.searched.max(self.line_start);
        }
        loop {
            let rest = buf.get(self.searched..).unwrap_or_default();
            let newline = memchr::memchr(b'\n', rest);
            let end = newline.map_or(buf.len(), |index| self.searched + index + 1);
            let line_end_max = self.line_start.saturating_add(limits.line_size_max);
            let bound = line_end_max.min(limits.head_size_max);
            if self.line_count == 0 {
                let seen = buf.get(self.line_start..end.min(bound)).unwrap_or_default();
                check_start(seen, side)?;
            }
            if end > bound {
                return Err(if line_end_max > limits.head_size_max {
                    Error::HeadTooLarge
                } else if self.line_count == 0 && side == Side::Request {
                    Error::RequestLineTooLong
                } else {
                    Error::FieldLineTooLong
                });
            }
            if newline.is_none() {
                self.searched = end;
                return Ok(None);
            }
            let line = buf.get(self.line_start..end).unwrap_or_default();
            let Some(line) = line.strip_suffix(b"\r\n") else {
                return Err(Error::BareLf);
            };
            if line.is_empty() {
                return Ok(Some(end));
            }
            if self.line_count > limits.field_count_max {
                return Err(Error::TooManyFields);
            }
            self.line_count += 1;
            self.line_start = end;
            self.searched = end;
        }
    }
}

/// Refuses a start line that cannot become one, so that a TLS client on a plain port, say, hears so at once.
fn check_start(seen: &[u8], side: Side) -> Result<(), Error> {
    match side {
        Side::Request => {
            let word = seen.get(..=METHOD_SIZE_MAX).unwrap_or(seen);
            let token = memchr::memchr(b' ', word).map_or(word, |at| &word[..at]);
            let is_method = token.len() <= METHOD_SIZE_MAX
                && token.iter().copied().all(fields::is_tchar)
                && !seen.starts_with(b" ");
            if is_method {
                Ok(())
            } else {
                Err(Error::Method)
            }
        }
        Side::Response => {
            let prefix = b"HTTP/";
            let shared = seen.len().min(prefix.len());
            if seen.get(..shared) == prefix.get(..shared) {
                Ok(())
            } else {
                Err(Error::StatusLine)
            }
        }
    }
}

/// The first rule a whole head breaks that the strict reading refused. Runs on refusals only.
pub(super) fn explain(whole: &[u8], side: Side) -> Error {
    let whole = match side {
        Side::Request => whole.strip_prefix(b"\r\n").unwrap_or(whole),
        Side::Response => whole,
    };
    let mut lines = whole
        .split(|&byte| byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let start_line = lines.next().unwrap_or_default();
    let verdict = match side {
        Side::Request => check_request_line(start_line),
        Side::Response => check_status_line(start_line),
    };
    if let Err(error) = verdict {
        return error;
    }
    for (index, line) in lines.take_while(|line| !line.is_empty()).enumerate() {
        match fields::check_line(line) {
            Err(Error::ObsFold) if index == 0 => return Error::LeadingWhitespace,
            Err(error) => return error,
            Ok(_) => {}
        }
    }
    Error::Malformed
}

fn check_request_line(line: &[u8]) -> Result<(), Error> {
    let mut words = line.split(|&byte| byte == b' ');
    let (Some(_method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Error::RequestLine);
    };
    if target.is_empty() {
        return Err(Error::RequestLine);
    }
    target::check_bytes(target)?;
    check_version(version)
}

fn check_status_line(line: &[u8]) -> Result<(), Error> {
    let (version, rest) = match memchr::memchr(b' ', line) {
        Some(at) => line.split_at(at),
        None => return Err(Error::StatusLine),
    };
    check_version(version)?;
    match rest {
        [b' ', b'1'..=b'9', b'0'..=b'9', b'0'..=b'9'] => Ok(()),
        [
            b' ',
            b'1'..=b'9',
            b'0'..=b'9',
            b'0'..=b'9',
            b' ',
            reason @ ..,
        ] if reason.iter().copied().all(fields::is_value_byte) => Ok(()),
        _ => Err(Error::StatusLine),
    }
}

fn check_version(version: &[u8]) -> Result<(), Error> {
    match version {
        b"HTTP/1.0" | b"HTTP/1.1" => Ok(()),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Err(Error::VersionUnsupported)
        }
        _ => Err(Error::Version),
    }
}
