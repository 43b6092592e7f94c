//! Follows where requests begin and end as their bytes arrive, and refuses what hyper is too
//! kind to: a line that ends in a bare LF, and `Content-Length` beside `Transfer-Encoding`
//! (RFC 9112 sections 2.2 and 6.1; both let two servers in a row read different requests).
//!
//! Knows nothing of sockets or answers: it looks at bytes. To refuse, it overwrites one byte of
//! the offending line with NUL, which hyper's parser answers with 400 and a closed connection.

use memchr::memchr;

/// The longest beginning of a split line that is kept: room for a field name and a length.
const LINE_START: usize = 64;

/// The framing of one connection, fed with every byte that it sends.
#[derive(Debug, Default)]
pub struct Framing {
    state: State,
    /// The beginning of a line whose end has not arrived yet, and how long that line is.
    line: Vec<u8>,
    line_len: usize,
    ends_in_cr: bool,
    lines: usize,
    length: Option<u64>,
    chunked: bool,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Head,
    /// So many bytes of the body are still to come.
    Body(u64),
    /// Chunked, or refused: the connection closes after this request, no head follows.
    Last,
}

/// Where a connection stands after the bytes that were fed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// At the end of a request.
    Boundary,
    /// Between two requests, or before the first: what came is empty lines, which are none.
    Between,
    /// In the middle of a head.
    Head,
    /// In a body that is not here as a whole.
    Body,
}

impl Framing {
    /// Takes the bytes that just arrived; may overwrite one to refuse the request.
    pub fn feed(&mut self, mut bytes: &mut [u8]) -> At {
        let mut ended = false;
        while !bytes.is_empty() {
            match &mut self.state {
                State::Last => return At::Body,
                State::Body(left) => {
                    let here = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    *left -= here as u64;
                    if *left == 0 {
                        self.state = State::Head;
                        ended = true;
                    }
                    bytes = bytes.split_at_mut(here).1;
                }
                State::Head => {
                    let within = self.lines > 0;
                    bytes = self.head(bytes);
                    ended |= within && self.lines == 0;
                }
            }
        }
        match self.state {
            State::Head if self.lines == 0 && self.line_len == 0 && ended => At::Boundary,
            State::Head if self.lines == 0 && self.line_len == 0 => At::Between,
            State::Head => At::Head,
            State::Body(_) | State::Last => At::Body,
        }
    }

    /// Takes one line, or what there is of it; returns the bytes behind it.
    fn head<'a>(&mut self, bytes: &'a mut [u8]) -> &'a mut [u8] {
        let Some(end) = memchr(b'\n', bytes) else {
            self.keep(bytes);
            return &mut [];
        };
        let (line, rest) = bytes.split_at_mut(end + 1);
        let Some((newline, text)) = line.split_last_mut() else { return rest };
        let ends_in_crlf =
            text.last().map_or(self.line_len > 0 && self.ends_in_cr, |last| *last == b'\r');
        let whole_length = self.line_len + text.len();
        let fits = ends_in_crlf && {
            if self.line_len == 0 {
                self.line_ended(text, whole_length)
            } else {
                self.keep(text);
                let kept = std::mem::take(&mut self.line);
                let fits = self.line_ended(&kept, whole_length);
                self.line = kept;
                fits
            }
        };
        self.line.clear();
        self.line_len = 0;
        if !fits {
            *newline = 0;
            self.state = State::Last;
        }
        rest
    }

    fn keep(&mut self, part: &[u8]) {
        let room = LINE_START.saturating_sub(self.line.len());
        self.line.extend(part.iter().take(room));
        self.line_len += part.len();
        self.ends_in_cr = part.last() == Some(&b'\r');
    }

    /// A line, with its CR (`length` counts it), is complete. False: refuse the request.
    fn line_ended(&mut self, line: &[u8], length: usize) -> bool {
        if length == 1 {
            // Empty lines before the request line are allowed (RFC 9112 section 2.2).
            if self.lines > 0 {
                self.head_ended();
            }
            return true;
        }
        self.lines += 1;
        if let Some(value) = field(line, b"content-length") {
            let text = std::str::from_utf8(value).unwrap_or_default().trim();
            // Also one of which the end was not kept: what follows the body would be read as body.
            let Ok(length) = text.trim_end_matches('\r').trim().parse() else { return false };
            self.length = Some(length);
        } else if field(line, b"transfer-encoding").is_some() {
            self.chunked = true;
        }
        !(self.chunked && self.length.is_some())
    }

    fn head_ended(&mut self) {
        self.state = match (self.chunked, self.length.take()) {
            (true, _) => State::Last,
            (false, Some(length)) if length > 0 => State::Body(length),
            (false, _) => State::Head,
        };
        self.lines = 0;
    }
}

/// The value of a header line when it is the field `name` (lower case).
fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = line.split_at_checked(name.len())?;
    let (colon, value) = rest.split_first()?;
    // A space before the colon is refused by hyper.
    (start.eq_ignore_ascii_case(name) && *colon == b':').then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `text` whole and in every cut; all must refuse it, or none, and end at `at`.
    #[track_caller]
    fn check(text: &str, refused: bool, at: At) {
        for cut in 0..=text.len() {
            let mut framing = Framing::default();
            let (mut first, mut second) =
                (text.as_bytes()[..cut].to_vec(), text.as_bytes()[cut..].to_vec());
            let mut end = framing.feed(&mut first);
            if !second.is_empty() {
                end = framing.feed(&mut second);
            }
            let changed = [first, second].concat() != text.as_bytes();
            assert_eq!(changed, refused, "{text:?} cut at {cut}");
            if !refused {
                assert_eq!(end, at, "{text:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn what_two_servers_could_read_differently_is_refused() {
        let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        check(get, false, At::Boundary);
        check("\r\n\r\n", false, At::Between);
        check(&format!("\r\n{get}{get}"), false, At::Boundary);
        check("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\na\nb\nc", false, At::Boundary);
        check("POST / HTTP/1.1\r\nContent-Length: 6\r\n\r\na\nb\nc", false, At::Body);
        check("POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nabGET / HT", false, At::Head);
        check("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\n\n", false, At::Body);
        check("GET / HTTP/1.1\nHost: a\r\n\r\n", true, At::Head);
        check("GET / HTTP/1.1\r\nHost: a\n\r\n", true, At::Head);
        check("GET / HTTP/1.1\r\nHost: a\r\n\n", true, At::Head);
        let length = "Content-Length: 5\r\n";
        let chunked = "Transfer-Encoding: chunked\r\n";
        check(&format!("POST / HTTP/1.1\r\n{length}{chunked}\r\n"), true, At::Head);
        check(&format!("POST / HTTP/1.1\r\n{chunked}{length}\r\n"), true, At::Head);
        check(&format!("POST / HTTP/1.1\r\n{chunked}cONTENT-lENGTH:0\r\n\r\n"), true, At::Head);
        check(
            &format!("POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nx{get}{chunked}"),
            false,
            At::Head,
        );
    }

    #[test]
    fn a_length_that_is_not_wholly_known_is_refused() {
        let padded = format!("Content-Length: {}5\r\n", " ".repeat(60));
        let mut framing = Framing::default();
        let mut whole = format!("POST / HTTP/1.1\r\n{padded}\r\nhello").into_bytes();
        assert_eq!(framing.feed(&mut whole), At::Boundary);
        let mut framing = Framing::default();
        let mut first = format!("POST / HTTP/1.1\r\n{}", &padded[..20]).into_bytes();
        let mut second = format!("{}\r\nhello", &padded[20..]).into_bytes();
        framing.feed(&mut first);
        framing.feed(&mut second);
        assert!(second.contains(&0), "it would take all that follows for the body");
        for length in ["", "five", "99999999999999999999", "-1", "5, 5"] {
            let text = format!("POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n");
            let mut bytes = text.into_bytes();
            Framing::default().feed(&mut bytes);
            assert!(bytes.contains(&0), "{length:?}");
        }
    }
}
