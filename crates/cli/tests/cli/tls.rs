//! Registries that speak TLS with certificates that the operating system does not trust.

use crate::harness::{Registry, cli, cli_with_model, fails, ok, run};
use modelpack_testkit::{
    Cli, Failure, Fault,
    server::{Server, answer},
    tls::{AUTHORITY, CLIENT, CLIENT_KEY, Clients, PlainHttp, SELF_SIGNED, SERVER, Tls, TlsTerminator},
};
use std::fs;
use tokio::runtime::Runtime;

/// Trusts a certificate for the server at this port of `localhost`, as Docker and Podman find it.
fn trust_in_directory(cli: &Cli, port: u16, certificate: &str) {
    let directory = cli.home().join(format!(".config/containers/certs.d/localhost:{port}"));
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("ca.crt"), certificate).unwrap();
}

#[test]
fn a_certificate_of_an_authority_is_trusted_for_all_servers_or_for_one() {
    let (cli, runtime) = (cli(), Runtime::new().unwrap());
    let servers =
        [Clients::Any, Clients::WithCertificate].map(|clients| runtime.block_on(Server::start_tls(clients, |_, _| answer(200, &[], "{}"))));
    let [open, wary] = [0, 1].map(|n: usize| servers[n].address.port());
    // Registries on this machine are spoken to by plain HTTP, so one of them leads to the others.
    let registry = Registry::start();
    let leading_to = |port: u16| {
        let headers = vec![("Location", format!("https://localhost:{port}/v2/"))];
        registry.behind(vec![Fault::on("GET", "/v2/", Failure::Status { code: 307, headers, body: String::new() })])
    };
    let (to_open, to_wary) = (leading_to(open), leading_to(wary));
    let login = |proxy: &modelpack_testkit::FaultProxy, options: &str| format!("login {} -u a -p b {options}", proxy.address());

    fails(&cli, &login(&to_open, ""), 7, &["TLS failed: ", "hint: `--ca-file FILE` trusts an authority of your own"]);
    let file = cli.home().join("authority.pem");
    fails(&cli, &login(&to_open, "--ca-file authority.pem"), 2, &["error: --ca-file: authority.pem cannot be read: No such file"]);
    fs::write(&file, AUTHORITY).unwrap();
    ok(&cli, &login(&to_open, "--ca-file authority.pem"));
    fails(&cli, &login(&to_wary, "--ca-file authority.pem"), 7, &[]);

    trust_in_directory(&cli, wary, AUTHORITY);
    let directory = cli.home().join(format!(".config/containers/certs.d/localhost:{wary}"));
    fs::write(directory.join("client.cert"), CLIENT).unwrap();
    fails(&cli, &login(&to_wary, ""), 2, &["client.cert: its key ", "cannot be read: No such file"]);
    fs::write(directory.join("client.key"), CLIENT_KEY).unwrap();
    ok(&cli, &login(&to_wary, ""));
    fails(&cli, &login(&to_open, ""), 7, &["TLS failed: "]);
}

#[test]
fn a_registry_on_this_machine_that_expects_tls_is_used_over_tls() {
    let (cli, _) = cli_with_model();
    fs::write(cli.home().join("authority.pem"), AUTHORITY).unwrap();
    fs::write(cli.home().join("server.pem"), SELF_SIGNED.certificate).unwrap();
    let (registry, runtime) = (Registry::start(), Runtime::new().unwrap());
    for (shown, trusted, plain_http) in
        [(SERVER, "authority.pem", PlainHttp::RefusedByGo), (SELF_SIGNED, "server.pem", PlainHttp::RefusedByNginx)]
    {
        let tls = runtime.block_on(TlsTerminator::start(Tls::with(shown).plain_http(plain_http), registry.address()));
        let reference = format!("localhost:{}/{trusted}:v1", tls.address.port());
        let lines = [
            format!("push model {reference}"),
            format!("ls {reference}").replace(":v1", ""),
            format!("pull {reference}"),
            format!("pull {reference} -o {trusted}.directory"),
            format!("verify docker://{reference}"),
            format!("cp {reference} {reference}.copy"),
            format!("login localhost:{} -u a -p b", tls.address.port()),
        ];
        for line in lines {
            ok(&cli, &format!("{line} --ca-file {trusted}"));
        }
        assert!(cli.home().join(format!("{trusted}.directory/config.json")).exists());
        let plain = tls.plain_requests();
        let is_first = |head: &String| head.starts_with("GET ") || head.starts_with("HEAD ");
        assert!(plain.iter().all(|head| is_first(head) && !head.to_lowercase().contains("authorization")), "{plain:?}");

        let words = ["TLS failed: ", "hint: `--ca-file FILE` trusts an authority of your own, or the certificate of the server itself"];
        fails(&cli, &format!("pull {reference}"), 7, &words);
        ok(&cli, &format!("pull {reference} --insecure"));
        fails(&cli, &format!("pull {reference} --plain-http"), 7, &["may speak TLS", "hint: if it does, omit `--plain-http`"]);
    }
}

#[test]
fn a_directory_of_certificates_makes_tls_the_first_choice_on_this_machine() {
    let (cli, _) = cli_with_model();
    let (registry, runtime) = (Registry::start(), Runtime::new().unwrap());
    for plain_http in [PlainHttp::Close, PlainHttp::Alert, PlainHttp::RefusedByGo] {
        let tls = runtime.block_on(TlsTerminator::start(Tls::with(SELF_SIGNED).plain_http(plain_http), registry.address()));
        let port = tls.address.port();
        let reference = format!("localhost:{port}/tiny:v1");
        if plain_http != PlainHttp::RefusedByGo {
            let hint = "for a registry on this machine, make the directory `~/.config/containers/certs.d/HOST:PORT`";
            fails(&cli, &format!("push model {reference}"), 7, &["may speak TLS", hint]);
        }
        let before = tls.plain_requests().len();
        trust_in_directory(&cli, port, SELF_SIGNED.certificate);
        ok(&cli, &format!("push model {reference}"));
        ok(&cli, &format!("pull {reference}"));
        assert_eq!(tls.plain_requests().len(), before);
        run(&cli, &format!("pull {reference} --plain-http")).expect_code(7);
    }
}
