//! The tracker's files over HTTP: names, types, caches. What they do in browsers, and what comes of
//! them compressed, `tests/tracker/run` shows.

use crate::support::{DATE, Site, wire::head};

#[test]
fn files_with_types_and_caches() {
    let server = Site::alone().serve();
    let mut wire = server.connect();
    for (path, file) in [
        ("/djaffar/djaffar.js", include_str!("../assets/tracker/djaffar.min.js")),
        ("/djaffar/more.js", include_str!("../assets/tracker/more.min.js")),
    ] {
        let answer = wire.request("GET", path, &[], b"");
        assert_eq!((answer.status, answer.body.as_str()), (200, file));
        for (name, expected) in [
            ("content-type", "text/javascript; charset=utf-8"),
            ("cache-control", "public, max-age=3600, stale-while-revalidate=86400"),
            ("vary", "Accept-Encoding"),
            ("x-content-type-options", "nosniff"),
            ("access-control-allow-origin", "*"),
            ("cross-origin-resource-policy", "cross-origin"),
        ] {
            assert_eq!(answer.header(name), Some(expected), "{name}");
        }
        assert_eq!(answer.header("content-encoding"), None);
        assert_eq!(answer.header("set-cookie"), None);
        let etag = answer.header("etag").unwrap();

        let answer = wire.request("GET", path, &[("If-None-Match", etag)], b"");
        assert_eq!((answer.status, answer.body.as_str()), (304, ""));
        assert_eq!(answer.header("etag"), Some(etag));
        assert_eq!(answer.header("content-type"), None);
        let answer = wire.request("GET", path, &[("If-None-Match", "\"old\"")], b"");
        assert_eq!(answer.status, 200);

        // Compressed it is another representation, with an ETag of its own.
        let gzip = [("Accept-Encoding", "gzip, br"), ("If-None-Match", etag)];
        wire.send(head("HEAD", path, &gzip, 0));
        let answer = wire.head_answer();
        assert_eq!((answer.status, answer.header("content-encoding")), (200, Some("gzip")));
        assert_ne!(answer.header("etag"), Some(etag));
        let length: usize = answer.header("x-length").unwrap().parse().unwrap();
        assert!(length < file.len() && length <= 2_048, "{length}");
    }
}

#[test]
fn only_reading_and_only_by_its_name() {
    let server = Site::alone().with("--tracker-name=shop.js").serve();
    let answer = server.connect().request("POST", "/djaffar/shop.js", &[], b"");
    assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")));
    let mut wire = server.connect();
    for (path, status) in [
        ("/djaffar/shop.js", 200),
        ("/djaffar/shop.js?v=2", 200),
        ("/djaffar/more.js", 200),
        ("/djaffar/djaffar.js", 404),
        ("/shop.js", 404),
        ("/djaffar/Shop.js", 404),
        ("/djaffar/shop.js/", 404),
    ] {
        let answer = wire.request("GET", path, &[], b"");
        assert_eq!(answer.status, status, "{path}");
        if status == 404 {
            wire = server.connect();
        }
    }
    assert!(server.banner.contains("/djaffar/shop.js"), "{}", server.banner);
}

#[test]
fn who_asks_to_be_nobody_gets_no_session() {
    let site = Site::alone().with("--allowed-origin=https://shop.example");
    let server = site.serve();
    let mut wire = server.connect();
    let form = format!("date={DATE}&path=/");
    let kind = ("Content-Type", "application/x-www-form-urlencoded");
    let origin = ("Origin", "https://shop.example");
    let mut post = |path: &str| wire.request("POST", path, &[kind, origin], form.as_bytes());
    let answer = post("/djaffar/log/?anonymous");
    assert_eq!((answer.status, answer.session()), (204, None));
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://shop.example"));
    assert_eq!(answer.header("access-control-expose-headers"), Some("Retry-After"));
    assert!(post("/djaffar/log/?anonymously").session().is_some());
    site.wait_for(2);
    let sql = "SELECT count(session_id) FROM djaffar_activity";
    let sessions: i64 = site.database().query_row(sql, [], |row| row.get(0)).unwrap();
    assert_eq!(sessions, 1);
}
