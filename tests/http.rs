//! HTTP itself: framing, limits, time-outs, methods, stopping. Raw bytes over a socket.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::support::{DATE, Server, Site, command_of, wire::head};

/// Sends bytes that two servers could read differently: 400 (or `status`), closed, and whatever
/// comes behind is not executed.
#[track_caller]
fn refused(server: &Server, request: &[u8], status: u16) {
    let mut wire = server.connect();
    wire.patience(Duration::from_secs(5));
    wire.send(request);
    wire.send(head("GET", "/second", &[], 0));
    let shown = String::from_utf8_lossy(&request[..request.len().min(120)]);
    let answer = wire.answer().unwrap_or_else(|| panic!("no answer to {shown:?}"));
    assert_eq!(answer.status, status, "{shown:?}");
    assert!(wire.closed(), "still open after {shown:?}");
}

#[test]
fn requests_that_can_be_read_in_two_ways_are_refused() {
    let site = Site::alone();
    let server = site.serve();
    let form = format!("date={DATE}&path=/");
    let length = form.len();
    let post = |headers: &str, body: &str| {
        let kind = "Content-Type: application/x-www-form-urlencoded";
        format!("POST /djaffar/log/ HTTP/1.1\r\nHost: a\r\n{kind}\r\n{headers}\r\n\r\n{body}")
    };
    let chunks = format!("{length:x}\r\n{form}\r\n0\r\n\r\n");
    for (headers, body) in [
        (format!("Content-Length: {length}\r\nTransfer-Encoding: chunked"), &chunks),
        (format!("Transfer-Encoding: chunked\r\nContent-Length: {length}"), &chunks),
        (format!("Content-Length: {length}\r\nContent-Length: 5"), &form),
        (format!("Content-Length: +{length}"), &form),
        (format!("Content-Length: {length}, {length}"), &form),
        ("Content-Length: -1".to_owned(), &form),
        ("Transfer-Encoding: xchunked".to_owned(), &chunks),
        ("Transfer-Encoding: chunked, gzip".to_owned(), &chunks),
        ("Transfer-Encoding: gzip, chunked".to_owned(), &chunks),
        ("Transfer-Encoding: chunked, chunked".to_owned(), &chunks),
        ("Transfer-Encoding: identity".to_owned(), &chunks),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked".to_owned(), &chunks),
        (format!("Content-Length : {length}"), &form),
        (format!("X: a\r\n b\r\nContent-Length: {length}"), &form),
        (format!("X: a\nContent-Length: {length}"), &form),
        (format!("X: a\rb\r\nContent-Length: {length}"), &form),
        (format!("X: a\0b\r\nContent-Length: {length}"), &form),
        (format!("Content-Length: {length}\r\nHost: b"), &form),
    ] {
        refused(&server, post(&headers, body).as_bytes(), 400);
    }
    let chunked = "Transfer-Encoding: chunked";
    refused(&server, post(chunked, "11111111111111111\r\n").as_bytes(), 400);
    let extension = format!("5;{}\r\nx", "e".repeat(20 * 1024));
    refused(&server, post(chunked, &extension).as_bytes(), 400);
    refused(&server, b"POST /djaffar/log/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400);
    refused(&server, b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400);
    refused(&server, b"GET / HTTP/1.1\r\n\r\n", 400);
    refused(&server, b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 400);
    refused(&server, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400);
    // A body where none belongs: the answer comes, the connection is not used again.
    for (request, status) in [
        ("GET /djaffar/log/", 405),
        ("OPTIONS /djaffar/log/", 200),
        ("GET /djaffar/health/", 200),
        ("GET /djaffar/djaffar.js", 200),
        ("POST /djaffar/djaffar.js", 405),
        ("POST /", 405),
    ] {
        let head = "HTTP/1.1\r\nHost: a\r\nContent-Length: 5";
        refused(&server, format!("{request} {head}\r\n\r\nhello").as_bytes(), status);
    }
    assert_eq!(site.count("djaffar_activity"), 0);
}

#[test]
fn a_chunked_body_is_read_and_its_connection_closed() {
    let site = Site::alone();
    let server = site.serve();
    let form = format!("date={DATE}&path=/");
    let kind = "Content-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked";
    let mut wire = server.connect();
    wire.send(format!("POST /djaffar/log/ HTTP/1.1\r\nHost: a\r\n{kind}\r\n\r\n"));
    for byte in form.bytes() {
        wire.send(format!("1\r\n{}\r\n", char::from(byte)));
    }
    wire.send("0\r\n\r\n");
    assert_eq!(wire.answer().unwrap().status, 204);
    assert!(wire.closed());
    site.wait_for(1);
}

#[test]
fn limits_of_the_head() {
    let site = Site::alone();
    let server = site.serve();
    let fields = "X: y\r\n".repeat(120);
    refused(&server, format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n").as_bytes(), 431);
    let long = "y".repeat(20 * 1024);
    refused(&server, format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n").as_bytes(), 431);
    let path = "p".repeat(9 * 1024);
    refused(&server, format!("GET /{path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes(), 414);
}

#[test]
fn methods() {
    let site = Site::alone();
    let server = site.serve();
    for method in ["GET", "PUT", "PATCH", "DELETE", "TRACE", "BREW"] {
        let answer = server.connect().request(method, "/djaffar/log/", &[], b"");
        assert_eq!(answer.status, 405, "{method}");
        assert_eq!(answer.header("allow"), Some("POST, OPTIONS"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.json()["detail"], format!("Method \"{method}\" not allowed."));
    }
    let answer = server.connect().request("GET", "/nowhere", &[], b"");
    assert_eq!(answer.status, 404);
    for path in ["/", "/djaffar/djaffar.js", "/djaffar/health/", "/djaffar/health"] {
        let mut wire = server.connect();
        wire.send(head("HEAD", path, &[], 0));
        assert_eq!(wire.head_answer().status, 200, "{path}");
        let answer = server.connect().request("POST", path, &[], b"");
        assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")), "{path}");
    }
}

#[test]
fn who_sends_all_and_closes_is_heard() {
    let site = Site::beside_django();
    let server = site.serve();
    let form = format!("date={DATE}&path=/half");
    let mut half = server.connect();
    half.send(head("POST", "/djaffar/log/", &[], form.len()));
    half.send(&form);
    half.finish();
    assert_eq!(half.answer().unwrap().status, 204);
    assert!(half.closed());
    // A page that is left: nobody reads the answer, and each of these waits for a look-up.
    for number in 0..20 {
        let cookie = format!("sessionid={number:032}");
        let form = format!("date={DATE}&path=/{number}");
        let mut gone = server.connect();
        gone.send(head("POST", "/djaffar/log/", &[("Cookie", &cookie)], form.len()) + &form);
        drop(gone);
    }
    site.wait_for(21);
}

#[test]
fn health() {
    let server = Site::alone().serve();
    let answer = server.connect().request("GET", "/djaffar/health/", &[], b"");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json(), serde_json::json!({ "status": "ok", "panics": 0 }));
}

#[test]
fn connections_are_kept_and_pipelined_requests_answered_in_order() {
    let site = Site::alone();
    let server = site.serve();
    let mut wire = server.connect();
    for number in 0..10 {
        let form = format!("date={DATE}&path=/{number}");
        wire.send(head("POST", "/djaffar/log/", &[], form.len()));
        wire.send(form);
        wire.send(head("PUT", "/djaffar/log", &[], 0).replace("PUT", "OPTIONS"));
    }
    for _ in 0..10 {
        assert_eq!(wire.answer().unwrap().status, 204);
        assert_eq!(wire.answer().unwrap().status, 200);
    }
    site.wait_for(10);
}

#[test]
fn a_connection_ends_after_a_thousand_requests() {
    let site = Site::alone();
    let server = site.serve();
    let mut wire = server.connect();
    for number in 1..=1_000 {
        let answer = wire.request("OPTIONS", "/djaffar/log/", &[], b"");
        let last = answer.header("connection") == Some("close");
        assert_eq!(last, number == 1_000, "{number}");
    }
    assert!(wire.closed());
}

#[test]
fn slow_clients_are_let_go() {
    let site = Site::alone();
    let server = site.serve();
    thread::scope(|scope| {
        let silent = scope.spawn(|| lasts(&server, |_| ()));
        // No request, whatever comes after it: nobody may keep a connection with these.
        let blank = scope.spawn(|| {
            lasts(&server, |wire| {
                for _ in 0..6 {
                    wire.send("\r\n");
                    thread::sleep(Duration::from_secs(1));
                }
            })
        });
        let dribbled_head = scope.spawn(|| {
            lasts(&server, |wire| {
                wire.send("POST /djaffar/log/ HTTP/1.1\r\nHost: a\r\nX: ");
                for _ in 0..16 {
                    wire.send("x");
                    thread::sleep(Duration::from_secs(1));
                }
            })
        });
        let dribbled_body = scope.spawn(|| {
            let mut wire = server.connect();
            let since = Instant::now();
            wire.send(head("POST", "/djaffar/log/", &[], 5_000));
            for _ in 0..8 {
                wire.send("x");
                thread::sleep(Duration::from_secs(1));
            }
            let answer = wire.answer().unwrap();
            assert_eq!(answer.status, 408);
            assert!(wire.closed());
            since.elapsed()
        });
        let idle = scope.spawn(|| {
            lasts(&server, |wire| {
                wire.request("OPTIONS", "/djaffar/log/", &[], b"");
                wire.send("\r\n");
            })
        });
        let of_a_proxy = scope.spawn(a_proxy_is_idle_for_longer);
        let seconds = |time: Duration| time.as_secs_f32();
        let time = seconds(silent.join().unwrap());
        assert!((10.0..12.0).contains(&time), "silent: {time}");
        let time = seconds(blank.join().unwrap());
        assert!((10.0..12.0).contains(&time), "empty lines: {time}");
        let time = seconds(dribbled_head.join().unwrap());
        assert!((10.0..18.0).contains(&time), "head: {time}");
        let time = seconds(dribbled_body.join().unwrap());
        assert!((5.0..10.0).contains(&time), "body: {time}");
        let time = seconds(idle.join().unwrap());
        assert!((29.0..33.0).contains(&time), "idle: {time}");
        of_a_proxy.join().unwrap();
    });
}

/// nginx keeps a connection for 60 seconds, and does not send a POST again that met its end.
fn a_proxy_is_idle_for_longer() {
    let site = Site::alone().with("--trusted-proxy=127.0.0.1");
    let server = site.serve();
    let mut wire = server.connect();
    let mut ask = || wire.request("OPTIONS", "/djaffar/log/", &[], b"").status;
    assert_eq!(ask(), 200);
    thread::sleep(Duration::from_secs(32));
    assert_eq!(ask(), 200);
}

/// How long a connection stays open after `act`.
fn lasts(server: &Server, act: impl FnOnce(&mut crate::support::Wire)) -> Duration {
    let mut wire = server.connect();
    wire.patience(Duration::from_secs(40));
    let since = Instant::now();
    act(&mut wire);
    assert!(wire.closed());
    since.elapsed()
}

#[test]
fn a_client_that_never_reads_is_let_go() {
    use socket2::{Domain, Socket, Type};
    use std::io::Write;
    let site = Site::alone();
    let server = site.serve();
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    socket.connect(&server.address.into()).unwrap();
    let mut stream = std::net::TcpStream::from(socket);
    stream.set_write_timeout(Some(Duration::from_secs(25))).unwrap();
    // Answers that fill all buffers, of fewer requests than a connection may have.
    let request = head("GET", "/djaffar/djaffar.js", &[], 0).repeat(990);
    let since = Instant::now();
    stream.write_all(request.as_bytes()).unwrap();
    while stream.write_all(b"\r\n").is_ok() {
        assert!(since.elapsed() < Duration::from_secs(25), "never let go");
        thread::sleep(Duration::from_millis(100));
    }
    let seconds = since.elapsed().as_secs_f32();
    assert!((9.5..13.0).contains(&seconds), "{seconds}");
}

#[test]
fn connections_of_one_address_are_limited() {
    let site = Site::alone().with("--connections-per-address=10");
    let server = site.serve();
    let mut wires: Vec<_> = (0..11).map(|_| server.connect()).collect();
    // Which of them is one too many is up to the threads that accept.
    let answered = wires.iter_mut().filter_map(|wire| {
        wire.send(head("OPTIONS", "/djaffar/log/", &[], 0));
        wire.answer()
    });
    assert_eq!(answered.count(), 10);
    drop(wires);
    let until = Instant::now() + Duration::from_secs(5);
    loop {
        let mut wire = server.connect();
        wire.send(head("OPTIONS", "/djaffar/log/", &[], 0));
        if wire.answer().is_some() {
            break;
        }
        assert!(Instant::now() < until, "places are not freed");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn without_a_file_for_a_connection_the_others_are_answered() {
    let site = Site::alone();
    let program = env!("CARGO_BIN_EXE_djaffar");
    let script = format!("ulimit -n 48; exec {program} serve --listen=127.0.0.1:0 --threads=2");
    let server = Server::start(command_of("sh", site.dir.path()).args(["-c", &script])).unwrap();
    let mut first = server.connect();
    assert_eq!(first.request("OPTIONS", "/djaffar/log/", &[], b"").status, 200);
    let before = server.processor();
    let crowd: Vec<_> = (0..100).map(|_| server.connect()).collect();
    thread::sleep(Duration::from_secs(2));
    assert_eq!(first.post(&format!("date={DATE}&path=/first"), &[]).status, 204);
    let used = server.processor() - before;
    assert!(used < Duration::from_millis(600), "it must wait, not try again and again: {used:?}");
    drop(crowd);
    assert_eq!(server.post(&format!("date={DATE}&path=/second"), &[]).status, 204);
    site.wait_for(2);
    assert!(server.stop_and_tell().contains("cannot accept a connection"));
}

#[test]
fn hosts_that_are_not_listed_are_refused() {
    let site = Site::alone().with("--allowed-host=shop.example.com");
    let server = site.serve();
    let form = format!("date={DATE}&path=/");
    assert_eq!(server.post(&form, &[]).status, 204);
    assert_eq!(server.post(&form, &[("Host", "evil.com")]).status, 400);
}

#[test]
fn a_stopping_server_finishes_what_it_answers() {
    let site = Site::alone();
    let server = site.serve();
    let form = format!("date={DATE}&path=/last");
    let mut busy = server.connect();
    busy.send(head("POST", "/djaffar/log/", &[], form.len()));
    busy.send(&form[..5]);
    let mut idle = server.connect();
    idle.request("OPTIONS", "/djaffar/log/", &[], b"");
    thread::sleep(Duration::from_millis(100));
    let since = Instant::now();
    server.signal(rustix::process::Signal::TERM);
    assert!(idle.closed());
    assert!(since.elapsed() < Duration::from_secs(2), "idle connections close at once");
    thread::sleep(Duration::from_millis(300));
    busy.send(&form[5..]);
    let answer = busy.answer().unwrap();
    assert_eq!((answer.status, answer.header("connection")), (204, Some("close")));
    assert!(server.wait().success());
    assert!(since.elapsed() < Duration::from_secs(5));
    site.wait_for(1);
}

#[test]
fn a_stopping_server_waits_ten_seconds_at_most() {
    let site = Site::alone();
    let server = site.serve();
    let mut stuck = server.connect();
    stuck.send("POST /djaffar/log/ HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nx");
    drop(stuck.answer());
    let mut stuck = server.connect();
    stuck.send("POST /djaffar/log/ HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n");
    let since = Instant::now();
    server.signal(rustix::process::Signal::TERM);
    let feeder = thread::spawn(move || {
        for _ in 0..12 {
            stuck.send("x".repeat(2_000));
            thread::sleep(Duration::from_secs(1));
        }
    });
    assert!(server.wait().success());
    assert!(since.elapsed() < Duration::from_secs(14), "{:?}", since.elapsed());
    feeder.join().unwrap();
}
