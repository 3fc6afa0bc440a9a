//! Operating a registry: probes and the access log.

use crate::harness::{cli, cli_with_model, ok};
use modelpack_testkit::{Running, Signal};
use serde_json::Value;
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

/// Waits until a registry serves, and returns its address.
fn address(running: &mut Running) -> SocketAddr {
    let line = running.wait_for_line("serving http://");
    line.trim_start_matches("serving http://").split_whitespace().next().unwrap().parse().unwrap()
}

/// Sends an arbitrary request head, and returns the whole response.
fn ask(address: SocketAddr, head: &[u8]) -> String {
    let mut connection = TcpStream::connect(address).unwrap();
    connection.write_all(head).unwrap();
    connection.write_all(b"Host: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn a_registry_answers_probes_and_logs_requests_only_on_demand() {
    let cli = cli();
    let mut registry = cli.start(["serve", "--listen", "127.0.0.1:0"]);
    let address = address(&mut registry);
    for path in ["/healthz", "/readyz"] {
        let answer = ask(address, format!("GET {path} HTTP/1.1\r\n").as_bytes());
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nok\n"), "{answer}");
    }
    assert!(ask(address, b"GET /v2/ HTTP/1.1\r\n").starts_with("HTTP/1.1 200 OK\r\n"));
    registry.signal(Signal::TERM);
    let output = registry.wait().expect_code(0);
    assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
}

#[test]
fn the_access_log_is_a_line_of_json_for_each_request_on_stderr() {
    let (client, _) = cli_with_model();
    let server = cli();
    let mut registry = server.start(["serve", "--listen", "127.0.0.1:0", "--access-log"]);
    let address = address(&mut registry);
    ok(&client, &format!("push model {address}/tiny:v1"));
    ask(address, b"GET /readyz HTTP/1.1\r\n");
    ask(address, b"GET /v2/\xe2\x80\xae?token=hunter2 HTTP/1.1\r\nUser-Agent: \x9b31m\r\nAuthorization: Bearer hunter2\r\n");
    registry.signal(Signal::TERM);
    let output = registry.wait().expect_code(0);
    assert_eq!(output.stdout, "");

    let lines: Vec<Value> = output.stderr.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect();
    let last = lines.last().unwrap();
    assert_eq!((&last["path"], &last["status"]), (&"/v2/\u{202e}".into(), &404.into()));
    assert!(last["userAgent"].as_str().unwrap().contains("31m"));
    let put = lines.iter().find(|line| line["path"] == "/v2/tiny/manifests/v1" && line["method"] == "PUT").unwrap();
    assert_eq!(put["status"], 201);
    assert!(put["received"].as_u64().unwrap() > 100 && put["userAgent"].as_str().unwrap().starts_with("modelpack/"), "{put}");
    let moved: u64 = lines.iter().map(|line| line["received"].as_u64().unwrap()).sum();
    assert!(moved > 1_000_000, "the layers are counted: {moved}");
    assert!(output.stderr.bytes().all(|byte| matches!(byte, b'\n' | b' '..=b'~')), "{}", output.stderr);
    assert!(!output.stderr.contains("hunter2") && !output.stderr.contains("readyz"), "{}", output.stderr);
}
