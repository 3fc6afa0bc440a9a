//! `modelpack logout`: removes the credentials of a registry.

use crate::{args::RegistryArgs, context::Context, failure::Failure};
use modelpack::spec::RepositoryName;

/// Remove the credentials of a registry
#[derive(clap::Args)]
pub struct Args {
    /// The registry: HOST[:PORT]
    #[arg(value_parser = registry_host)]
    registry: String,
}

pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let logged_out = context.modelpack(&RegistryArgs::default()).logout(&args.registry).await?;
    let done = if logged_out.removed { "logged out of" } else { "there was no login for" };
    context.output.note(&format!("{done} {}", args.registry));
    context.output.result("", &logged_out)
}

/// A registry's host and port, with the grammar of references. A scheme before it and a slash after
/// it are ignored.
pub fn registry_host(text: &str) -> Result<String, String> {
    let host = text.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/');
    let name = format!("{host}/x").parse::<RepositoryName>().ok();
    let parsed = name.as_ref().and_then(RepositoryName::host).filter(|_| !host.contains('/'));
    parsed.map(str::to_owned).ok_or_else(|| "expected HOST[:PORT], as in registry.example.com".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_a_host_and_a_port() {
        for (text, host) in [
            ("registry.example.com", Some("registry.example.com")),
            ("localhost", Some("localhost")),
            ("https://Registry.Example.com:5000/", Some("registry.example.com:5000")),
            ("[::1]:5000", Some("[::1]:5000")),
            ("registry.example.com/team", None),
            ("registry", None),
            ("", None),
        ] {
            assert_eq!(registry_host(text).ok().as_deref(), host, "{text:?}");
        }
    }
}
