//! The HTTP client that all protocols share.
//!
//! A protocol, such as that of OCI registries, implements [`Protocol`]: how a request is
//! authorized, and what an error answer means. Everything else is here:
//!
//! - [`HttpClient`] holds the connections, uses proxies, and checks and shows certificates.
//! - [`Origin`] is one server. It sends requests, follows redirects, and repeats a request if that
//!   may help. It never sends credentials to another server.
//! - [`download`] reads a range of a file, and continues where a connection broke.
//! - [`Credentials`] are logins in files like Docker's and in credential helpers.
//!
//! Every failure is a [`modelpack_transfer::Error`] that says what was requested, from where, and why
//! it failed, without secrets. The events of `tracing` contain no secrets either.

mod body;
mod certificates;
mod client;
pub mod credentials;
mod download;
mod failure;
pub mod link;
mod network;
mod options;
mod origin;
mod payload;
mod plain;
mod pools;
mod protocol;
mod proxy;
pub mod range;
mod request;
mod retry;
mod text;
mod tls;

pub use certificates::{Authorities, Certificates};
pub use client::HttpClient;
pub use credentials::{Credentials, Login};
pub use download::{Resource, download};
pub use failure::{Failure, unexpected, unexpected_because};
pub use options::{ClientOptions, RetryOptions, Timeouts};
pub use origin::{Origin, origin_url};
pub use payload::{Payload, UploadBody};
pub use protocol::{ErrorAnswer, Meaning, Protocol};
pub use proxy::{Proxies, ProxyUrl};
pub use request::Request;
pub use reqwest::{Response, Url};
pub use retry::{Backoff, Retry};
pub use text::{printable, printable_beginning, shown};
