use super::*;
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::mpsc::{Receiver, channel},
    thread,
};

const LENGTH: &str = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n0123\r\n6;x=y\r\n456789\r\n0\r\n\r\n";
const UNTIL_CLOSE: &str = "HTTP/1.1 200 OK\r\n\r\n0123456789";

/// A server that gives every request the same response, and tells the body of each as far as it came.
fn server(response: &'static str) -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, bodies) = channel();
    thread::spawn(move || {
        for connection in listener.incoming() {
            let mut reader = BufReader::new(connection.unwrap());
            let mut wanted = 0;
            let mut line = String::new();
            while reader.read_line(&mut line).unwrap() > 2 {
                wanted = line.strip_prefix("Content-Length: ").map_or(wanted, |length| length.trim().parse().unwrap());
                line.clear();
            }
            let mut body = String::new();
            (&mut reader).take(wanted).read_to_string(&mut body).unwrap();
            let _ = reader.get_mut().write_all(response.as_bytes());
            let _ = sender.send(body);
        }
    });
    (address, bodies)
}

/// All that comes back for some requests sent at once on one connection.
fn ask(proxy: &FaultProxy, requests: &str) -> String {
    let mut connection = TcpStream::connect(proxy.address()).unwrap();
    connection.write_all(requests.as_bytes()).unwrap();
    let mut answer = String::new();
    // The proxy may reset the connection, and what came before counts.
    let _ = connection.read_to_string(&mut answer);
    answer
}

const GET: &str = "GET /v2/a/blobs/b HTTP/1.1\r\nConnection: close\r\n\r\n";

#[test]
fn without_a_fault_every_framing_passes_unchanged() {
    for response in [LENGTH, CHUNKED, UNTIL_CLOSE] {
        let (address, _bodies) = server(response);
        assert_eq!(ask(&FaultProxy::start(address, vec![]), GET), response);
    }
}

#[test]
fn a_connection_carries_several_requests_with_bodies() {
    let (address, bodies) = server(LENGTH);
    let proxy = FaultProxy::start(address, vec![]);
    let answer = ask(&proxy, &format!("PUT /1 HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcHEAD /2 HTTP/1.1\r\n\r\n{GET}"));
    let head = LENGTH.trim_end_matches("0123456789");
    assert_eq!(answer, [LENGTH, head, LENGTH].concat());
    assert_eq!(bodies.iter().take(3).collect::<Vec<_>>(), ["abc", "", ""]);
}

#[test]
fn requests_are_recorded() {
    let (address, _bodies) = server(LENGTH);
    let proxy = FaultProxy::start(address, vec![]);
    ask(&proxy, "GET /a?n=1 HTTP/1.1\r\nrange: bytes=5-\r\nAuthorization: Bearer t\r\n\r\nHEAD /b HTTP/1.1\r\nConnection: close\r\n\r\n");
    let seen = |method: &str, path: &str, authorization, range: Option<&str>| SeenRequest {
        method: method.to_owned(),
        path: path.to_owned(),
        authorization,
        range: range.map(str::to_owned),
        content_range: None,
        received: 0,
    };
    assert_eq!(proxy.requests(), [seen("GET", "/a?n=1", true, Some("bytes=5-")), seen("HEAD", "/b", false, None)]);
}

#[test]
fn a_response_body_is_cut_where_told() {
    for (response, cut) in [(LENGTH, "01234"), (CHUNKED, "4\r\n0123\r\n6;x=y\r\n4"), (UNTIL_CLOSE, "01234")] {
        let (address, _bodies) = server(response);
        let proxy = FaultProxy::start(address, vec![Fault::on("GET", "/blobs/", Failure::CutAfter(5))]);
        let answer = ask(&proxy, "GET /blobs/ HTTP/1.1\r\n\r\n");
        assert_eq!(answer.split_once("\r\n\r\n").unwrap().1, cut);
    }
}

#[test]
fn a_request_body_is_cut_where_told() {
    let (address, bodies) = server(LENGTH);
    let proxy = FaultProxy::start(address, vec![Fault::on("PUT", "", Failure::CutRequestAfter(2))]);
    assert_eq!(ask(&proxy, "PUT / HTTP/1.1\r\nContent-Length: 4\r\n\r\nabcd"), "");
    assert_eq!(bodies.recv().unwrap(), "ab");
}

#[test]
fn a_connection_is_cut_after_all_its_request_bodies_together() {
    let (address, bodies) = server(LENGTH);
    let proxy = FaultProxy::start(address, vec![Fault::on("PUT", "", Failure::CutConnectionAfter(5))]);
    let put = "PUT / HTTP/1.1\r\nContent-Length: 4\r\nContent-Range: 0-3\r\n\r\nabcd";
    for _ in 0..2 {
        assert_eq!(ask(&proxy, &[put, put].concat()), LENGTH);
        assert_eq!(bodies.iter().take(2).collect::<Vec<_>>(), ["abcd", "a"]);
    }
    let requests = proxy.requests();
    assert_eq!(requests.iter().map(|request| request.received).collect::<Vec<_>>(), [4, 1, 4, 1]);
    assert!(requests.iter().all(|request| request.content_range.as_deref() == Some("0-3")));
}

#[test]
fn a_request_that_is_too_long_is_refused() {
    let (address, bodies) = server(LENGTH);
    let proxy = FaultProxy::start(address, vec![Fault::on("PUT", "", Failure::LimitRequest(3))]);
    let put = |body: &str| format!("PUT / HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let answer = ask(&proxy, &[&put("abcd"), &put("abc"), GET].concat());
    assert_eq!(answer, ["HTTP/1.1 413 Fault\r\nContent-Length: 9\r\n\r\ntoo large", LENGTH, LENGTH].concat());
    assert_eq!(bodies.iter().take(2).collect::<Vec<_>>(), ["abc", ""]);
}

#[test]
fn one_byte_is_flipped() {
    for response in [LENGTH, CHUNKED, UNTIL_CLOSE] {
        let (address, _bodies) = server(response);
        let proxy = FaultProxy::start(address, vec![Fault::on("GET", "", Failure::FlipByte(6))]);
        assert_eq!(ask(&proxy, GET), response.replace("6789", "7789"));
    }
}

#[test]
fn one_byte_of_a_request_is_flipped() {
    let (address, bodies) = server(LENGTH);
    let proxy = FaultProxy::start(address, vec![Fault::on("PUT", "", Failure::FlipRequestByte(2))]);
    assert_eq!(ask(&proxy, &format!("PUT / HTTP/1.1\r\nContent-Length: 4\r\n\r\nabcd{GET}")), [LENGTH, LENGTH].concat());
    assert_eq!(bodies.recv().unwrap(), "abbd");
}

#[test]
fn a_range_is_taken_away_from_the_requests_that_have_one() {
    let (address, _bodies) = server(LENGTH);
    let last = FaultProxy::start(address, vec![]);
    let faults = vec![Fault::on("GET", "/a", Failure::IgnoreRange).ranged(), Fault::on("GET", "/a", Failure::FlipByte(0))];
    let proxy = FaultProxy::start(last.address(), faults);
    let get = |path: &str, header: &str| format!("GET {path} HTTP/1.1\r\n{header}\r\n");
    ask(&proxy, &[get("/a", "Range: bytes=5-\r\n"), get("/b", "Range: bytes=5-\r\n"), get("/a", "Connection: close\r\n")].concat());
    let ranges: Vec<_> = last.requests().into_iter().map(|request| request.range).collect();
    assert_eq!(ranges, [None, Some("bytes=5-".to_owned()), None]);
    assert_eq!(proxy.befallen(), 2);
}

#[test]
fn faults_are_set_anew_and_the_answers_of_the_server_are_counted() {
    let (address, _bodies) = server(LENGTH);
    let refusal = Failure::Status { code: 503, headers: Vec::new(), body: String::new() };
    let proxy = FaultProxy::start(address, vec![Fault::on("", "", refusal)]);
    assert!(ask(&proxy, GET).starts_with("HTTP/1.1 503 "));
    assert_eq!(proxy.answers(), BTreeMap::new());
    proxy.set_faults(Vec::new());
    assert_eq!(ask(&proxy, GET), LENGTH);
    assert_eq!((proxy.answers(), proxy.befallen()), (BTreeMap::from([(200, 1)]), 1));
}

#[test]
fn a_fault_befalls_the_requests_it_names_as_often_as_told() {
    let (address, bodies) = server(LENGTH);
    let busy = Failure::Status { code: 429, headers: vec![("Retry-After", "0".to_owned())], body: "busy".to_owned() };
    let proxy = FaultProxy::start(address, vec![Fault::on("PUT", "/blobs/", busy).times(1)]);
    let put = "PUT /blobs/ HTTP/1.1\r\nContent-Length: 2\r\n\r\nab";
    let answer = ask(&proxy, &["PUT / HTTP/1.1\r\n\r\n", put, put, GET].concat());
    let refused = "HTTP/1.1 429 Fault\r\nRetry-After: 0\r\nContent-Length: 4\r\n\r\nbusy";
    assert_eq!(answer, [LENGTH, refused, LENGTH, LENGTH].concat());
    assert_eq!(bodies.iter().take(3).collect::<Vec<_>>(), ["", "ab", ""]);
}

#[test]
fn credentials_are_required_before_any_other_fault_is_met() {
    let (address, _bodies) = server(LENGTH);
    let require = |user: &str, password: &str| Failure::RequireBasic { user: user.to_owned(), password: password.to_owned() };
    let faults = vec![Fault::on("", "", require("Aladdin", "open sesame")), Fault::on("GET", "", Failure::FlipByte(0))];
    let proxy = FaultProxy::start(address, faults);
    for wrong in ["", "Authorization: Basic QWxhZGRpbjpvcGVu\r\n"] {
        let answer = ask(&proxy, &GET.replace("Connection", &format!("{wrong}Connection")));
        assert!(answer.starts_with("HTTP/1.1 401 Fault\r\nWWW-Authenticate: Basic realm="), "{answer}");
    }
    // The example of RFC 7617, section 2.
    let answer = ask(&proxy, &GET.replace("Connection", "Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\nConnection"));
    assert!(answer.ends_with("\r\n\r\n1123456789"), "{answer}");
}

#[test]
fn base64_pads_as_rfc_4648_says() {
    let encoded = ["", "f", "fo", "foo", "foob"].map(|text| base64(text.as_bytes()));
    assert_eq!(encoded, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg=="]);
}

#[test]
fn a_wrong_content_length_is_claimed() {
    let (address, _bodies) = server(LENGTH);
    let proxy = FaultProxy::start(address, vec![Fault::on("GET", "", Failure::ContentLength(12))]);
    assert_eq!(ask(&proxy, "GET / HTTP/1.1\r\n\r\n"), LENGTH.replace("10", "12"));
}

#[test]
fn a_stalled_request_is_never_answered_and_holds_up_no_other() {
    let (address, _bodies) = server(LENGTH);
    let proxy = FaultProxy::start(address, vec![Fault::on("GET", "", Failure::Stall).times(1)]);
    let mut stalled = TcpStream::connect(proxy.address()).unwrap();
    stalled.write_all(GET.as_bytes()).unwrap();
    stalled.shutdown(Shutdown::Write).unwrap();
    while proxy.requests().is_empty() {
        thread::yield_now();
    }
    assert_eq!(ask(&proxy, GET), LENGTH);
    drop(proxy);
    let mut answer = String::new();
    let _ = stalled.read_to_string(&mut answer);
    assert_eq!(answer, "");
}

#[tokio::test]
async fn a_proxy_may_be_dropped_in_an_asynchronous_test() {
    let (address, _bodies) = server(LENGTH);
    drop(FaultProxy::start(address, vec![]));
}

#[test]
fn bytes_of_a_body_come_twice_or_are_lost() {
    let (address, _bodies) = server(LENGTH);
    let with = |failure| ask(&FaultProxy::start(address, vec![Fault::on("GET", "", failure)]), GET);
    assert_eq!(with(Failure::Repeat { at: 2, count: 3 }), LENGTH.replace("0123456789", "0123423456"));
    assert_eq!(with(Failure::Omit { at: 2, count: 3 }), LENGTH.replace("0123456789", "0156789"));
    assert_eq!(with(Failure::ShortBody(4)), LENGTH.replace("10", "4").replace("0123456789", "0123"));
}

#[test]
fn a_body_pauses_and_then_goes_on() {
    let (address, _bodies) = server(LENGTH);
    let proxy = FaultProxy::start(address, vec![Fault::on("GET", "", Failure::PauseAfter(5, Duration::from_millis(1)))]);
    assert_eq!(ask(&proxy, GET), LENGTH);
}

#[test]
fn a_body_stops_and_its_connection_stays() {
    let (address, _bodies) = server(LENGTH);
    let proxy = FaultProxy::start(address, vec![Fault::on("GET", "", Failure::StallAfter(5))]);
    let mut connection = TcpStream::connect(proxy.address()).unwrap();
    connection.write_all(GET.as_bytes()).unwrap();
    let expected = LENGTH.trim_end_matches("56789");
    let mut came = vec![0; expected.len()];
    connection.read_exact(&mut came).unwrap();
    assert_eq!(String::from_utf8(came).unwrap(), expected);
    connection.set_nonblocking(true).unwrap();
    assert_eq!(connection.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn a_reset_is_not_an_end() {
    let (address, _bodies) = server(LENGTH);
    let proxy = FaultProxy::start(address, vec![Fault::on("GET", "", Failure::ResetAfter(5))]);
    let mut connection = TcpStream::connect(proxy.address()).unwrap();
    connection.write_all(GET.as_bytes()).unwrap();
    let error = connection.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn a_part_claims_to_be_another_one() {
    let (address, _bodies) = server("HTTP/1.1 206 Partial Content\r\nContent-Length: 1\r\nContent-Range: bytes 5-5/10\r\n\r\n5");
    let proxy = FaultProxy::start(address, vec![Fault::on("GET", "", Failure::ContentRange("bytes 4-4/10".to_owned()))]);
    let answer = ask(&proxy, GET);
    assert!(answer.contains("Content-Range: bytes 4-4/10\r\n") && !answer.contains("5-5"), "{answer}");
}

#[test]
fn an_answer_is_lost_after_the_server_has_done_the_work() {
    let (address, bodies) = server(LENGTH);
    let proxy = FaultProxy::start(address, vec![Fault::on("PUT", "", Failure::LoseAnswer)]);
    assert_eq!(ask(&proxy, "PUT / HTTP/1.1\r\nContent-Length: 2\r\n\r\nab"), "");
    assert_eq!(bodies.recv().unwrap(), "ab");
}

#[test]
fn tokens_expire_and_others_can_be_had() {
    let (address, _bodies) = server(LENGTH);
    let proxy = FaultProxy::start(address, vec![Fault::on("GET", "/blobs/", Failure::ExpireTokens).times(2)]);
    let get = |path: &str, token: Option<&str>| {
        let authorization = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        ask(&proxy, &format!("GET {path} HTTP/1.1\r\n{authorization}Connection: close\r\n\r\n"))
    };
    assert_eq!(get("/v2/", None), LENGTH, "no token is required before one has expired");
    for number in 1..3 {
        let before = format!("token-{}", number - 1);
        assert!(get("/blobs/", Some(&before)).contains(&format!("realm=\"http://{}/proxy-token\"", proxy.address())));
        assert!(get("/v2/", Some(&before)).starts_with("HTTP/1.1 401 "));
        let token = format!("token-{number}");
        assert!(get("/proxy-token?service=proxy", None).contains(&format!("\"{token}\"")));
        assert_eq!(get("/v2/", Some(&token)), LENGTH);
    }
}

#[test]
fn a_redirect_is_valid_once() {
    let (address, _bodies) = server(LENGTH);
    let proxy = FaultProxy::start(address, vec![Fault::on("GET", "/blobs/", Failure::Redirect)]);
    let answer = ask(&proxy, "GET /v2/a/blobs/b?c HTTP/1.1\r\nConnection: close\r\n\r\n");
    let location = format!("http://{}/signed/1/v2/a/blobs/b?c", proxy.address());
    assert!(answer.starts_with("HTTP/1.1 307 ") && answer.contains(&format!("Location: {location}\r\n")), "{answer}");
    let signed = "GET /signed/1/v2/a/blobs/b?c HTTP/1.1\r\nConnection: close\r\n\r\n";
    assert_eq!(ask(&proxy, signed), LENGTH);
    assert!(ask(&proxy, signed).starts_with("HTTP/1.1 403 "));
}

#[test]
fn a_token_does_not_expire_where_none_is_required() {
    let (address, _bodies) = server(LENGTH);
    let expires = Fault::on("GET", "/blobs/", Failure::ExpireTokens).times(2);
    let proxy = FaultProxy::start(address, vec![Fault::on("GET", "/blobs/", Failure::Redirect).times(1), expires]);
    assert!(ask(&proxy, GET).starts_with("HTTP/1.1 307 "));
    assert_eq!(ask(&proxy, "GET /signed/1/v2/a/blobs/b HTTP/1.1\r\nConnection: close\r\n\r\n"), LENGTH);
    assert_eq!(proxy.befallen(), 1);
}

#[test]
fn a_session_moves_and_is_not_found_in_its_old_place() {
    let (address, _bodies) = server("HTTP/1.1 202 Accepted\r\nLocation: /v2/a/blobs/uploads/7?x=1\r\nContent-Length: 0\r\n\r\n");
    let proxy = FaultProxy::start(address, vec![Fault::on("POST", "", Failure::MoveSession).times(1)]);
    let request = |method: &str, path: &str| ask(&proxy, &format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n\r\n"));
    assert!(request("POST", "/v2/a/blobs/uploads/").contains("Location: /moved/1/v2/a/blobs/uploads/7?x=1\r\n"));
    assert!(request("PATCH", "/v2/a/blobs/uploads/7?x=1").starts_with("HTTP/1.1 404 "));
    // The server does not know that the session has moved, but the client must not see that.
    assert!(request("PATCH", "/moved/1/v2/a/blobs/uploads/7?x=1").contains("Location: /moved/1/v2/a/blobs/uploads/7?x=1\r\n"));
}

#[test]
fn bytes_of_blobs_are_counted_by_method_and_digest() {
    let (address, _bodies) = server(LENGTH);
    let proxy = FaultProxy::start(address, vec![Fault::on("GET", "sha256:b", Failure::CutAfter(4)).times(1)]);
    ask(&proxy, "GET /v2/m/blobs/sha256:b HTTP/1.1\r\n\r\n");
    ask(&proxy, &GET.replace("a/blobs/b", "m/blobs/sha256:b"));
    ask(&proxy, &GET.replace("a/blobs/b", "m/manifests/v1"));
    for (method, target) in [("PATCH", "7?x=1"), ("PUT", "7?x=1&digest=sha256%3Ac"), ("PATCH", "8")] {
        ask(&proxy, &format!("{method} /v2/m/blobs/uploads/{target} HTTP/1.1\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc"));
    }
    let traffic = proxy.traffic();
    let bytes = |to_server, to_client| Bytes { to_server, to_client };
    assert_eq!(traffic.of_blob("sha256:b"), bytes(0, 14));
    assert_eq!(traffic.of_blob("sha256:c"), bytes(6, 0));
    assert_eq!(traffic.of_blob("/v2/m/blobs/uploads/8"), bytes(3, 0));
    assert_eq!((traffic.of_method("PATCH"), traffic.of_method("PUT")), (bytes(6, 0), bytes(3, 0)));
    assert_eq!(traffic.total(), bytes(9, 14));
    assert_eq!((traffic.total().total(), proxy.most_bodies()), (23, 1));
    ask(&proxy, &GET.replace("a/blobs/b", "m/blobs/sha256:b"));
    let since = proxy.traffic().since(&traffic);
    assert_eq!((since.total(), since.blobs().into_iter().collect::<Vec<_>>()), (bytes(0, 10), vec!["sha256:b"]));
}

#[test]
fn bodies_of_blobs_wait_at_a_limit_and_their_connections_can_be_cut() {
    let (address, _bodies) = server(LENGTH);
    let proxy = FaultProxy::start(address, Vec::new());
    proxy.hold_after(Some(4));
    assert!(!proxy.is_holding(), "nothing waits yet");
    let mut connection = TcpStream::connect(proxy.address()).unwrap();
    connection.write_all(GET.as_bytes()).unwrap();
    while !proxy.is_holding() {
        thread::yield_now();
    }
    let mut came = vec![0; LENGTH.len() - 6];
    while proxy.unread() < came.len() as u64 {
        thread::yield_now();
    }
    connection.read_exact(&mut came).unwrap();
    assert!(came.ends_with(b"0123"));
    proxy.cut();
    assert_eq!(connection.read_to_end(&mut Vec::new()).unwrap_or_default(), 0);
    assert_eq!(proxy.traffic().total(), Bytes { to_server: 0, to_client: 4 });
    // There is no limit any more, but a rate.
    proxy.hold_after(None);
    proxy.set_rate(Some(1 << 30));
    assert_eq!(ask(&proxy, GET), LENGTH);
}
