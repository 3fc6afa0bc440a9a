//! Registries that speak TLS with certificates that the operating system does not trust.

use crate::harness::{Registry, cli, fails, ok};
use modelpack_testkit::{
    Failure, Fault,
    server::{Server, answer},
    tls::{AUTHORITY, CLIENT, CLIENT_KEY, Clients},
};
use std::fs;
use tokio::runtime::Runtime;

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

    let directory = cli.home().join(format!(".config/containers/certs.d/localhost:{wary}"));
    fs::create_dir_all(&directory).unwrap();
    for (name, content) in [("authority.crt", AUTHORITY), ("client.cert", CLIENT)] {
        fs::write(directory.join(name), content).unwrap();
    }
    fails(&cli, &login(&to_wary, ""), 2, &["client.cert: its key ", "cannot be read: No such file"]);
    fs::write(directory.join("client.key"), CLIENT_KEY).unwrap();
    ok(&cli, &login(&to_wary, ""));
    fails(&cli, &login(&to_open, ""), 7, &["TLS failed: "]);
}
