//! The OCI distribution protocol: a registry client, which is a source and a sink, and a registry,
//! which is a view of a server.
//!
//! Both use one protocol module, so a path, a range or an error body is parsed and printed by the
//! same code.

mod protocol;

pub mod client;
pub mod server;
