//! The HTTP client that all protocols share.
//!
//! A protocol, such as that of OCI registries, implements [`Protocol`]: what it shows so that a request is let in, and how its errors
//! read. Everything else is here: an [`HttpClient`] holds connections, goes through proxies and checks certificates; an [`Origin`] sends
//! requests to one server, follows redirects, tries again what may pass, and shows credentials to nobody else; [`download`] goes on where
//! a body broke off; [`Credentials`] are logins in files like Docker's and in credential helpers.
//!
//! Every failure is a [`modelpack_transfer::Error`] that says what was asked, of whom, and why it failed, without secrets.

mod body;
mod client;
pub mod credentials;
mod download;
mod failure;
mod network;
mod options;
mod origin;
mod payload;
mod protocol;
mod proxy;
pub mod range;
mod request;
mod retry;
mod text;

pub use body::read_limited;
pub use client::HttpClient;
pub use credentials::{Credentials, Login};
pub use download::{Resource, download};
pub use failure::{Failure, unexpected};
pub use options::ClientOptions;
pub use origin::{Origin, origin_url};
pub use payload::Payload;
pub use protocol::{ErrorAnswer, Meaning, Protocol};
pub use proxy::{Proxies, ProxyUrl};
pub use request::Request;
pub use reqwest::{Response, Url};
pub use retry::{Backoff, Retry};
pub use text::{printable, printable_beginning, shown};
