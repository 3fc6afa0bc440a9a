//! The OCI distribution protocol: a registry client, which is a source and a sink, and a registry, which is a view of a server.
//!
//! Both speak through one protocol module, so a path, a range or an error body is read and printed in one place.

mod protocol;

pub mod client;
pub mod server;
