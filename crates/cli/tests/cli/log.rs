//! The log on stderr: it contains requests, redirects and retries, but never credentials.

use crate::harness::{Registry, cli, cli_with_model, fails, ok, run};
use modelpack_testkit::{Cli, Failure, Fault, Output, Signal};
use serde_json::Value;
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
};

/// `me:secret word`, a token and a signature, in every form in which they are sent.
const SECRETS: [&str; 5] = ["secret word", "bWU6c2VjcmV0IHdvcmQ=", "token-of-mine", "dG9rZW4tb2YtbWluZQ==", "signature-of-mine"];

fn keep_login(cli: &Cli, host: SocketAddr) {
    fs::create_dir_all(cli.home().join(".docker")).unwrap();
    let login = format!(r#"{{"auths": {{"{host}": {{"auth": "{}"}}}}}}"#, SECRETS[1]);
    fs::write(cli.home().join(".docker/config.json"), login).unwrap();
}

/// Runs a command line with a filter in the environment.
fn run_with(cli: &Cli, filter: &str, line: &str) -> Output {
    cli.command().args(line.split_whitespace()).env("MODELPACK_LOG", filter).output().unwrap().into()
}

#[track_caller]
fn expect_log(output: &Output, words: &[&str]) {
    let log = &output.stderr;
    assert!(words.iter().all(|word| log.contains(word)), "{words:?} not all in:\n{log}");
    for secret in SECRETS {
        assert!(!log.contains(secret) && !output.stdout.contains(secret), "{secret} is told:\n{log}");
    }
}

#[test]
fn a_pull_logs_requests_and_retries_and_no_password() {
    let (packer, _) = cli_with_model();
    let registry = Registry::start();
    ok(&packer, &format!("push model {}", registry.reference("tiny:v1")));
    let pull = |line: &str, filter: &str| {
        let busy = Failure::Status { code: 503, headers: vec![("Retry-After", "0".to_owned())], body: "busy".to_owned() };
        let proxy = registry.behind(vec![
            Fault::on("GET", "/manifests/", busy).times(1),
            Fault::on("", "", Failure::RequireBasic { user: "me".into(), password: "secret word".into() }),
        ]);
        let cli = cli();
        keep_login(&cli, proxy.address());
        let output = run_with(&cli, filter, &format!("{line} {}/tiny:v1", proxy.address())).expect_code(0);
        let url = format!("http://{}/v2/tiny/manifests/v1", proxy.address());
        (output, url)
    };
    let (silent, _) = pull("pull", "");
    assert!(!silent.stderr.contains("log: ") && !silent.stderr.contains("/v2/"), "{}", silent.stderr);

    for (line, filter) in [("pull -v", ""), ("pull", "info"), ("-v pull", "off")] {
        let (output, url) = pull(line, filter);
        let answers = [401, 503, 200].map(|status| format!("log: info: answer method=GET url={url} status={status}"));
        let retry = format!("log: info: trying again after a pause why=\"{url} answered 503: busy\" attempt=2 milliseconds=0");
        expect_log(&output, &[&answers[0], &answers[1], &answers[2], &retry, "/blobs/sha256:"]);
        assert!(!output.stderr.contains("debug"), "{}", output.stderr);
    }
    for (line, filter) in [("pull -vv", ""), ("pull -v --verbose -v", ""), ("pull", "trace"), ("pull", "modelpack_http,modelpack=off")] {
        let (output, url) = pull(line, filter);
        let request = format!("log: debug: request method=GET url={url}");
        expect_log(&output, &[&request, "shows=Basic", "log: debug: login found registry=", "log: info: answer method=GET"]);
    }
    let (output, url) = pull("pull -vv --json", "");
    let lines: Vec<Value> = output.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let answer = lines.iter().map(|line| &line["log"]).find(|log| log["message"] == "answer").unwrap();
    assert_eq!((&answer["level"], &answer["target"]), (&"info".into(), &"modelpack_http::client".into()));
    assert_eq!((&answer["fields"]["url"], &answer["fields"]["method"]), (&url.as_str().into(), &"GET".into()));
    expect_log(&output, &[]);
}

/// A registry that redirects clients with a token to a signed URL, and gives the token to clients
/// with the login.
fn token_registry() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answer = move |target: &str, shown: &str| match target {
        _ if target.starts_with("/token") && shown == format!("Basic {}", SECRETS[1]) => {
            let body = format!(r#"{{"token":"{}"}}"#, SECRETS[2]);
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        }
        _ if target.starts_with("/signed") => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(),
        _ if shown == format!("Bearer {}", SECRETS[2]) => {
            let location = format!("http://me:secret%20word@{address}/signed?X-Signature={}", SECRETS[4]);
            format!("HTTP/1.1 307 Temporary Redirect\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n")
        }
        _ => {
            let realm = format!("http://{address}/token?key={}", SECRETS[4]);
            format!("HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer realm=\"{realm}\"\r\nContent-Length: 0\r\n\r\n")
        }
    };
    thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            thread::spawn(move || {
                let mut lines = BufReader::new(connection.try_clone().unwrap()).lines();
                while let Some(Ok(first)) = lines.next() {
                    let head: Vec<String> = lines.by_ref().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
                    let shown =
                        head.iter().find_map(|line| line.split_once(": ").filter(|(name, _)| name.eq_ignore_ascii_case("authorization")));
                    let target = first.split(' ').nth(1).unwrap();
                    if connection.write_all(answer(target, shown.map_or("", |(_, value)| value)).as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

#[test]
fn tokens_redirects_and_signatures_are_logged_without_what_is_secret() {
    let address = token_registry();
    for line in ["-v inspect", "-vv inspect", "-vv inspect --json"] {
        let cli = cli();
        keep_login(&cli, address);
        let output = run(&cli, &format!("{line} docker://{address}/tiny:v1")).expect_code(3);
        let words = ["redirected", "/token", "/signed", "307", "401", "404"];
        expect_log(&output, &words);
        assert_eq!(output.stderr.contains("Bearer"), line.contains("vv"), "{}", output.stderr);
        assert_eq!(output.stderr.contains("repository:tiny:pull"), line.contains("vv"), "{}", output.stderr);
    }
}

#[test]
fn a_server_logs_what_it_was_asked_without_queries_and_headers() {
    let cli = cli();
    let mut running = cli.start(["serve", "-v", "--listen", "127.0.0.1:0"]);
    let line = running.wait_for_line("serving http://");
    let address: SocketAddr = line.split("http://").nth(1).unwrap().split_whitespace().next().unwrap().parse().unwrap();
    let mut connection = TcpStream::connect(address).unwrap();
    let head = format!("GET /v2/tiny/tags/list?key={} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {}", SECRETS[4], SECRETS[1]);
    write!(connection, "{head}\r\nConnection: close\r\n\r\n").unwrap();
    connection.read_to_end(&mut Vec::new()).unwrap();
    let line = running.wait_for_line("path=/v2/tiny/tags/list");
    assert!(
        line.starts_with("log: info: request remote=127.0.0.1:") && line.contains(" method=GET ") && line.contains(" status=404 "),
        "{line}"
    );
    running.signal(Signal::TERM);
    expect_log(&running.wait().expect_code(0), &["log: info: serving address=", "log: info: shutting down"]);
}

#[test]
fn a_filter_that_is_none_is_told_with_its_variable() {
    let cli = cli();
    let refused = run_with(&cli, "hyper=trace", "ls").expect_code(2);
    assert!(refused.stderr.starts_with("error: MODELPACK_LOG: \"hyper\" is neither a level"), "{}", refused.stderr);
    run_with(&cli, "hyper=trace", "ls -v").expect_code(0);
    fails(&cli, "ls -v --quiet", 2, &["--verbose", "--quiet"]);
}
