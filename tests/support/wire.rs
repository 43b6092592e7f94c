//! A client that sends exactly the bytes that it is given, and reads one answer after the other.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// What came back.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        let (_, value) = found.next()?;
        assert!(found.next().is_none(), "{name} twice");
        Some(value)
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// The session key in Set-Cookie.
    pub(crate) fn session(&self) -> Option<String> {
        let cookie = self.header("set-cookie")?;
        let (pair, _) = cookie.split_once(';').unwrap();
        Some(pair.strip_prefix("sessionid=").unwrap().to_owned())
    }
}

/// A connection.
pub(crate) struct Wire {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Wire {
    pub(crate) fn connect(address: SocketAddr) -> Wire {
        Wire::open(address).unwrap()
    }

    /// Connects to a server that may be gone.
    pub(crate) fn open(address: SocketAddr) -> std::io::Result<Wire> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(Wire { stream, read: Vec::new() })
    }

    /// Sends bytes as they stand. An error means that the other side closed: reading tells.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        drop(self.stream.write_all(bytes.as_ref()));
    }

    /// Sends no more, and goes on reading.
    pub(crate) fn finish(&self) {
        self.stream.shutdown(std::net::Shutdown::Write).unwrap();
    }

    pub(crate) fn patience(&self, patience: Duration) {
        self.stream.set_read_timeout(Some(patience)).unwrap();
    }

    /// Posts a form to the endpoint. A header named like one of the usual ones replaces it.
    pub(crate) fn post(&mut self, form: &str, headers: &[(&str, &str)]) -> Answer {
        self.request("POST", "/djaffar/log/", headers, form.as_bytes())
    }

    pub(crate) fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        self.send(head(method, path, headers, body.len()));
        self.send(body);
        self.answer().unwrap_or_else(|| panic!("closed without an answer: {method} {path}"))
    }

    /// The next answer; `None` when the connection was closed instead.
    pub(crate) fn answer(&mut self) -> Option<Answer> {
        let end = loop {
            if let Some(end) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break end;
            }
            if !self.more() {
                assert!(self.read.is_empty(), "half an answer: {:?}", self.read);
                return None;
            }
        };
        let head: Vec<u8> = self.read.drain(..end + 4).collect();
        let text = String::from_utf8(head).unwrap();
        let mut lines = text.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let mut answer = Answer { status, headers, body: String::new() };
        if answer.status == 100 {
            return self.answer();
        }
        let length = answer.header("content-length").map_or(0, |text| text.parse().unwrap());
        while self.read.len() < length {
            assert!(self.more(), "half a body");
        }
        answer.body = String::from_utf8(self.read.drain(..length).collect()).unwrap();
        Some(answer)
    }

    /// The answer to HEAD: no body, whatever its length says.
    pub(crate) fn head_answer(&mut self) -> Answer {
        while !self.read.ends_with(b"\r\n\r\n") {
            assert!(self.more(), "half an answer");
        }
        let text = String::from_utf8(std::mem::take(&mut self.read)).unwrap();
        self.read = text.replace("content-length: ", "x-length: ").into_bytes();
        self.answer().unwrap()
    }

    /// Whether the other side has closed (waits for it).
    pub(crate) fn closed(&mut self) -> bool {
        self.read.is_empty() && !self.more()
    }

    /// Reads more; false at the end.
    fn more(&mut self) -> bool {
        let mut buffer = [0; 8192];
        match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(count) => {
                self.read.extend_from_slice(&buffer[..count]);
                true
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => panic!("{error}"),
        }
    }
}

/// The head of a request.
pub(crate) fn head(method: &str, path: &str, headers: &[(&str, &str)], length: usize) -> String {
    let mut text = format!("{method} {path} HTTP/1.1\r\n");
    let usual = [
        ("Host", "shop.example.com"),
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:50.0) Gecko/20100101 Firefox/50.0"),
    ];
    let said = |name: &str| headers.iter().any(|(said, _)| said.eq_ignore_ascii_case(name));
    for (name, value) in usual.iter().filter(|(name, _)| !said(name)).chain(headers) {
        text += &format!("{name}: {value}\r\n");
    }
    if length > 0 || method == "POST" {
        text += &format!("Content-Length: {length}\r\n");
    }
    text + "\r\n"
}
